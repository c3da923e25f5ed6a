"""Shuffled rounds: each runs every program once, in an order of its own, so that a drifting machine drifts for all."""

from __future__ import annotations

import random
import sys
import time
from dataclasses import dataclass, field
from typing import Callable, Collection, Optional, TextIO

from .running import Lengths, Result, Run, RunError, SkipError, expected_seconds
from .servers import ServerError

Perform = Callable[[Run], Result]
REPEATS = ("instructions",)  # kinds that give the same each time: run once, the figure stands for every round


def is_seldom(number: int) -> bool:
    """Two rounds of five have also what no verdict rests on: six of 15, the fewest that have an exact interval."""
    return number * 2 % 5 < 2


def times(rounds: int, every: bool) -> int:
    return rounds if every else sum(map(is_seldom, range(rounds)))


@dataclass
class Series:
    """What a run gave in each round; None where a round has nothing."""

    run: Run
    results: list[Optional[Result]] = field(default_factory=list)
    failure: str = ""
    skipped: str = ""

    def values(self, metric: str) -> list[Optional[float]]:
        """A metric may be a sum: "a+b"."""
        found: list[Optional[float]] = []
        for result in self.results:
            parts = [result.metrics.get(name) for name in metric.split("+")] if result else [None]
            known = [part for part in parts if part is not None]
            found.append(sum(known) if len(known) == len(parts) else None)
        return found


class Progress:
    """One line on a terminal, rewritten; nothing elsewhere."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock, self._shown = stream, clock, stream.isatty()
        self._began = clock()

    def show(self, done: int, total: int, left_seconds: float, what: str) -> None:
        if not self._shown:
            return
        left = f"{left_seconds / 60:.0f} min" if left_seconds >= 90 else f"{left_seconds:.0f} s"
        text = f"[{done * 100 // max(total, 1):3d} %] {left} left  {what}"
        self._stream.write(f"\r\033[K{text[:110]}")
        self._stream.flush()

    def clear(self) -> None:
        if self._shown:
            self._stream.write("\r\033[K")
            self._stream.flush()


def _name(run: Run) -> str:
    shape = run.case or (f"{run.connections} × {run.depth}" if run.connections else "")
    return f"{run.kind} {shape} {run.label}"


def measure(runs: list[Run], rounds: int, perform: Perform, lengths: Lengths, seed: int,
            often: Collection[Run], progress: Optional[Progress] = None) -> dict[Run, Series]:
    """
    Those of often in every round. A run that failed once is not tried again: its row says why. Interrupted, it keeps
    the rounds that are over, if there are any.
    """
    series = {run: Series(run) for run in runs}
    progress = progress or Progress(sys.stderr)
    try:
        _measure(series, rounds, perform, lengths, seed, often, progress)
    except KeyboardInterrupt:
        over = min((len(one.results) for one in series.values()), default=0)
        if over == 0:
            raise
        for one in series.values():
            del one.results[over:]
        print(f"\nnexus bench: interrupted; {over} of {rounds} rounds are over", file=sys.stderr)
    progress.clear()
    return series


def _measure(series: dict[Run, Series], rounds: int, perform: Perform, lengths: Lengths, seed: int,
             often: Collection[Run], progress: Progress) -> None:
    took: dict[Run, float] = {}
    order, dice = list(series), random.Random(seed)
    done = 0
    for number in range(rounds):
        dice.shuffle(order)
        for position, run in enumerate(order):
            one = series[run]
            if number and run.kind in REPEATS:
                one.results.append(one.results[0])
                done += 1
                continue
            if not (run in often or is_seldom(number)):
                one.results.append(None)
                done += 1
                continue
            if not (one.failure or one.skipped):
                left = _left(order, position, number, rounds, often, lambda r: 0.0 if (
                    series[r].failure or series[r].skipped or (r.kind in REPEATS and r in took)
                ) else expected_seconds(r, lengths, took.get(r)))
                progress.show(done, rounds * len(order), left, _name(run))
            one.results.append(_once(one, run, perform, took))
            done += 1


def _left(order: list[Run], position: int, number: int, rounds: int, often: Collection[Run],
          seconds: Callable[[Run], float]) -> float:
    """Seconds from this position of this round to the end of the last."""
    later = times(rounds, False) - times(number + 1, False)
    total = 0.0
    for place, run in enumerate(order):
        now = place >= position and (run in often or is_seldom(number))
        then = rounds - number - 1 if run in often else later
        total += seconds(run) * (1 if run.kind in REPEATS else now + then)
    return total


def _once(one: Series, run: Run, perform: Perform, took: dict[Run, float]) -> Optional[Result]:
    if one.failure or one.skipped:
        return None
    began = time.monotonic()
    try:
        return perform(run)
    except SkipError as reason:
        one.skipped = str(reason)
    except (RunError, ServerError) as error:
        one.failure = str(error)
    finally:
        took[run] = time.monotonic() - began
    return None
