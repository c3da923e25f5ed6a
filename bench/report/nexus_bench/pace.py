"""Open-loop rows: one rate for all of them, at which none is overloaded: latency shows how long a request waits."""

from __future__ import annotations

from dataclasses import replace
from typing import Callable

from .plan import Judged, all_runs
from .running import Result, Run, RunError, SkipError
from .servers import ServerError

SHARE = 0.5  # of what the slowest does in a closed loop
STEP = 1000  # requests a second: the rate is a round number


def set_rate(rows: list[Judged], perform: Callable[[Run], Result]) -> None:
    """Each server runs once in a closed loop; what fails now fails in the rounds again, and is reported there."""
    paced = [run for run in all_runs(rows) if run.kind == "paced"]
    speeds = []
    for run in paced:
        try:
            speeds.append(perform(run).metrics["rps"])
        except (RunError, SkipError, ServerError):
            pass
    if not speeds:
        return
    rate = float(max(STEP, int(min(speeds) * SHARE) // STEP * STEP))
    at_rate = {run: replace(run, rate=rate) for run in paced}
    for judged in rows:
        if judged.subject in at_rate:
            judged.subject = at_rate[judged.subject]
        judged.baselines = [(base, at_rate.get(run, run) if run else None) for base, run in judged.baselines]
        judged.peers = {name: at_rate.get(run, run) for name, run in judged.peers.items()}
        judged.beside = [at_rate.get(run, run) for run in judged.beside]
