"""The command line of nexus bench."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any, Optional

from . import goals, growth, judging, machine, pace, page, plan, programs, readme, rounds, running, text, verdicts
from .counting import Counted

LOOK_ROUNDS = 3
OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
VERSION = 1  # of the report
HERE = Path(__file__).resolve().parent


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="nexus bench", description="Measures every goal in interleaved, shuffled rounds.")
    p.add_argument("--build", type=Path, help="the folder that make bench-programs has filled")
    p.add_argument("--goals", type=Path, help="instead of bench/goals.json")
    p.add_argument("--list", action="store_true", help="print what would be run, and how long that takes")
    p.add_argument("--rows", action="append", default=[], metavar="GLOB", help="only these rows (repeatable)")
    p.add_argument("--area", action="append", default=[], help="only this area (repeatable); growth: nothing else")
    p.add_argument("--backend", action="append", default=[], help="only this backend (repeatable)")
    p.add_argument("--scheduler", action="append", default=[], help="only this scheduler (repeatable)")
    p.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True,
                   help="measure the peers that are built")
    p.add_argument("--judged-only", action="store_true", help="no cells beside those that have a verdict")
    p.add_argument("--growth", action=argparse.BooleanOptionalAction, default=None,
                   help="run bench/growth (by default with none of --rows, --area and --quick; or --area=growth)")
    p.add_argument("--rounds", type=int, help="fewer than 15 are a look (15)")
    p.add_argument("--quick", action="store_true",
                   help=f"a look: {LOOK_ROUNDS} short rounds of what verdicts rest on, peers once")
    p.add_argument("--duration", type=float, help="seconds of load in an echo run (0.4)")
    p.add_argument("--instructions", action=argparse.BooleanOptionalAction, default=None,
                   help="judge what lies under 3 %% by callgrind's counts (by default, but not with --quick)")
    p.add_argument("--seed", type=int, help="of the order in the rounds")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the report")
    p.add_argument("--html", type=Path, metavar="FILE", help="write the page")
    p.add_argument("--from", dest="source", type=Path, metavar="FILE", help="a report instead of a run")
    p.add_argument("--readme", type=Path, metavar="FILE", help="write that file's performance section anew")
    p.add_argument("--check", action="store_true", help="exit 1 where a goal is missed")
    return p


class UsageError(Exception):
    """Options that can't be meant so."""


def find_build(given: Optional[Path]) -> Path:
    """Given, or around the place where one stands."""
    if given is not None:
        if not (given / "tools/nexus").exists():
            raise programs.MissingError(f"{given} is not a build folder: no tools/nexus in it")
        return given.resolve()
    here = Path.cwd()
    for folder in (here, *here.parents, here / "build"):
        if (folder / "tools/nexus").exists() and (folder / "bench").is_dir():
            return folder.resolve()
    raise programs.MissingError("no build folder here; name it: --build DIR (make bench-programs fills it)")


def find_goals(given: Optional[Path]) -> Path:
    for path in [given] if given else [HERE.parent.parent / "goals.json", HERE.parent / "goals.json"]:
        if path.exists():
            return path
    return given or HERE.parent / "goals.json"


def check_names(given: list[str], there: list[str], unusable: dict[str, str], what: str) -> None:
    for name in given:
        if name in unusable:
            raise UsageError(f"the {what} {name} can't run here: {unusable[name]}")
        if name not in there:
            raise UsageError(f"no {what} {name}; there are: {', '.join(there)}")


def check_outputs(options: argparse.Namespace) -> None:
    """Before the run, not after it."""
    for path in (options.json, options.html):
        if path and (path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK)):
            raise UsageError(f"{path} can't be written")
    if options.readme:
        readme.check(options.readme)


def check_options(options: argparse.Namespace) -> None:
    if options.rounds is not None and options.rounds < 1:
        raise UsageError("--rounds is from 1 on")
    if options.duration is not None and not 0 < options.duration <= 3600:
        raise UsageError("--duration is above 0 and up to 3600")
    chosen = [name for name in ("rows", "area", "backend", "scheduler", "rounds", "quick", "list", "growth")
              if getattr(options, name) not in (None, False, [])]
    if options.source and chosen:
        raise UsageError(f"--from runs nothing: --{chosen[0]} means nothing beside it")
    if options.readme and not options.source and (options.quick or (options.rounds or 15) < verdicts.LEAST_ROUNDS):
        raise UsageError(f"--readme wants {verdicts.LEAST_ROUNDS} rounds: a look is no figure to publish")
    check_outputs(options)


def read_report(path: Path) -> dict[str, Any]:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path} is no report of nexus bench: {error}") from error
    if not isinstance(report, dict) or report.get("version") != VERSION or "rows" not in report:
        raise UsageError(f"{path} is no report of nexus bench, or of another version")
    return report


def run_report(options: argparse.Namespace) -> Optional[dict[str, Any]]:
    """None after --list."""
    wanted = goals.read(find_goals(options.goals))
    found = programs.find(find_build(options.build), options.peers)
    check_names(options.backend, found.backends, found.unusable, "backend")
    check_names(options.scheduler, found.scheds, found.unusable, "scheduler")
    rows = goals.chosen(wanted.rows, options.rows, options.area)
    alone = options.area == ["growth"]  # which has no rows
    if not rows and not alone:
        raise goals.GoalsError("no row is like that; --list shows them all")
    beside = not (options.judged_only or options.quick)
    choice = plan.Choice(tuple(options.backend), tuple(options.scheduler), options.peers, beside)
    judged = plan.make(found, rows, choice)
    lengths = running.Lengths(options.duration or (0.2 if options.quick else 0.4), 0.1, 0.02 if options.quick else 0.05)
    count = options.rounds or (LOOK_ROUNDS if options.quick else verdicts.LEAST_ROUNDS)
    runs = plan.all_runs(judged)
    grows = options.growth or (options.growth is None and not options.rows
                               and (alone or not (options.area or options.quick)))
    if options.instructions is None:
        options.instructions = not options.quick
    if options.list:
        print_list(judged, found)
        print(f"\n{estimate(judged, runs, count, lengths, grows, options)}")
        return None
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(2**31)
    counted = Counted(found, options.instructions)

    def perform(run: running.Run) -> running.Result:
        return counted.result(run) if run.kind == "instructions" else running.perform(found, run, lengths)

    print(estimate(judged, runs, count, lengths, grows, options), file=sys.stderr, flush=True)
    pace.set_rate(judged, perform)
    series = rounds.measure(plan.all_runs(judged), count, perform, lengths, seed, plan.often(judged))
    done = max((len(one.results) for one in series.values()), default=count)
    interrupted = done < count
    grown: list[dict[str, Any]] = []
    if grows and not interrupted:
        times = 1 if options.quick else growth.LEAST_ROUNDS
        grown = growth.measure(found, times, wanted.growth)
        grown += growth.connections(found, times, lengths, wanted.growth)
    return {"version": VERSION, "machine": machine.describe(found.build), "rounds": done,
            "look": done < verdicts.LEAST_ROUNDS, "interrupted": interrupted, "seed": seed,
            "window_seconds": lengths.window,
            "peers": [f"{name} {found.versions.get(name, '')}".strip() for name in found.peers],
            "problems": found.problems,
            "rows": [judging.row(j, series, counted) for j in judged], "growth": grown,
            "latencies": judging.latencies(judged, series),
            "failures": [{"run": f"{s.run.kind} {s.run.case or s.run.connections} {s.run.label}", "why": s.failure}
                         for s in series.values() if s.failure]}


def estimate(judged: list[plan.Judged], runs: list[running.Run], count: int, lengths: running.Lengths, grows: bool,
             options: argparse.Namespace) -> str:
    """One line: what is going to be run, and for how long."""
    seconds, often = 0.0, plan.often(judged)
    for run in runs:
        repeats = run.kind in rounds.REPEATS
        if options.instructions or not repeats:
            times = 1 if repeats else rounds.times(count, run in often)
            seconds += running.expected_seconds(run, lengths, None) * times
    also = f", and growth: about {growth.expected_minutes(options.quick):.0f} min more" if grows else ""
    return (f"{len(judged)} lines, {len(often)} runs in each round, {len(runs) - len(often)} in two of five, "
            f"{count} round{'s' * (count != 1)}: "
            f"about {max(1, round(seconds / 60))} min{also}")


def print_list(judged: list[plan.Judged], found: programs.Programs) -> None:
    for one in judged:
        beside = sorted({run.label for run in one.runs[1:]})
        print(f"{one.id:48} {one.row.title}" + (f"\n{'':6}skipped: {one.skipped}" if one.skipped else ""))
        if beside and not one.skipped:
            print(f"{'':6}beside: {', '.join(beside)}")
    for problem in found.problems:
        print(f"note: {problem}")


def outcome(report: dict[str, Any], check: bool) -> int:
    words = {one["verdict"] for one in report["rows"] + report["growth"]}
    if verdicts.FAILED in words or report["failures"]:
        return FAILED
    return FAILED if check and verdicts.MISSED in words else OK


def main(arguments: Optional[list[str]] = None) -> int:
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # servers are ended, what is finished is kept
    try:
        check_options(options)
        report = read_report(options.source) if options.source else run_report(options)
        if report is None:
            return OK
        print(text.table(report))
        for failure in report["failures"]:
            print(f"failed: {failure['run']}: {failure['why']}")
        if options.json:
            options.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if options.html:
            options.html.write_text(page.html(report), encoding="utf-8")
        if options.readme:
            readme.rewrite(options.readme, report)
    except UsageError as error:
        print(f"nexus bench: {error}", file=sys.stderr)
        return USAGE
    except (programs.MissingError, goals.GoalsError, readme.ReadmeError, OSError, ValueError) as error:
        print(f"nexus bench: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("\nnexus bench: ended before the first round was over", file=sys.stderr)
        return INTERRUPTED
    return INTERRUPTED if report.get("interrupted") else outcome(report, options.check)
