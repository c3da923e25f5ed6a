"""What it costs to have many: the programs of bench/growth, and the exponent that fits what they measured."""

from __future__ import annotations

import fnmatch
import json
import os
import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from . import figures, verdicts
from .goals import Growth
from .programs import Programs
from .running import Lengths, Run, RunError, perform
from .servers import ServerError, failure_of

PROGRAM_SECONDS = 900
LEAST_ROUNDS = 3
ROUND_MINUTES = 1.5  # about
CONNECTIONS = (50, 100, 1000, 10000, 100000)  # fewer do not keep a server busy: its wakes would count
SUBJECTS = ("tasks", "timers", "workers")  # of bench/growth/growth
MEMORY = {"bytes": "memory", "kernel_bytes": "memory in the kernel, both ends"}


@dataclass(frozen=True)
class Call:
    """A program of bench/growth, and what it is to run on."""

    program: Path
    arguments: tuple[str, ...] = ()
    backend: str = ""
    sched: str = ""

    def name(self, subject: str) -> str:
        return f"{subject}, {self.backend}" if self.backend else subject


def programs_of(build: Path) -> list[Path]:
    folder = build / "bench/growth"
    if not folder.is_dir():
        return []
    return sorted(f for f in folder.iterdir()
                  if f.is_file() and os.access(f, os.X_OK) and f.suffix not in (".la", ".sh"))


def run(programs: Programs, call: Call) -> tuple[list[dict[str, Any]], str]:
    """The subjects that it measured, each with its points; or why not."""
    try:
        done = subprocess.run([call.program, *call.arguments], capture_output=True, text=True, check=False,
                              timeout=PROGRAM_SECONDS, env=programs.environment(call.backend, call.sched, 0, ()))
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], str(error)
    if done.returncode != 0:
        return [], failure_of(done.returncode, done.stderr)
    try:
        found = [part for one in parse(done.stdout) for part in with_memory(one)]
        return [{**one, "subject": call.name(one["subject"])} for one in found], ""
    except (ValueError, KeyError, TypeError) as error:
        return [], f"prints no growth JSON: {error!r}"


def parse(text: str) -> list[dict[str, Any]]:
    """An object, a list of them, or one a line."""
    try:
        found = json.loads(text)
    except ValueError:
        found = [json.loads(line) for line in text.splitlines() if line.strip()]
    if isinstance(found, dict):
        found = found.get("subjects", [found])
    return [{**f, "subject": str(f["subject"]), "unit": str(f.get("unit", "")),
             "points": [(float(p["n"]), float(p["value"])) for p in f["points"]], "note": note_of(f),
             **{key: [(float(p["n"]), float(p.get(key, 0))) for p in f["points"]] for key in MEMORY}} for f in found]


def note_of(one: dict[str, Any]) -> str:
    """What the program says, and the limits of the machine that it met."""
    met = [f"{limit['name']} {limit['value']} ({limit['what']})" for limit in one.get("limits", []) if limit["met"]]
    said = [str(one["note"])] if one.get("note") else []
    return "; ".join(said + (["limits met: " + "; ".join(met)] if met else []))


def with_memory(one: dict[str, Any]) -> list[dict[str, Any]]:
    """What is counted in bytes beside the time is a subject of its own."""
    sizes = {key: [(n, size) for n, size in one.pop(key, []) if size > 0] for key in MEMORY}
    return [one] + [{**one, "subject": f"{one['subject']}, {MEMORY[key]}", "unit": "bytes", "note": "",
                     "points": points}
                    for key, points in sizes.items() if points]


def limit_of(subject: str, growth: tuple[Growth, ...]) -> Optional[Growth]:
    return next((g for g in growth if fnmatch.fnmatchcase(subject, g.subject)), None)


def merge(subject: str, rounds: list[dict[str, Any]], growth: tuple[Growth, ...]) -> dict[str, Any]:
    """A subject over its rounds: a median and a range for each n, and the fit of each round."""
    values: dict[float, list[float]] = {}
    for one in rounds:
        for n, value in one["points"]:
            values.setdefault(n, []).append(value)
    limit = limit_of(subject, growth)
    start = limit.start if limit else 1
    fits = [fit for one in rounds
            if (fit := figures.exponent([p for p in one["points"] if p[0] >= start])) is not None]
    entry: dict[str, Any] = {
        "subject": subject, "unit": rounds[0]["unit"], "limit": limit.limit if limit else None,
        "why": limit.why if limit else "", "note": str(rounds[0].get("note", "")), "exponent": None,
        "verdict": verdicts.UNJUDGED, "reason": "",
        "points": [{"n": n, **{k: getattr(figures.summary(v), k) for k in ("median", "low", "high")}}
                   for n, v in sorted(values.items())]}
    if not fits:
        entry["reason"] = "too few points to fit"
        return entry
    fit = figures.estimate(fits)
    entry["exponent"] = {"median": fit.median, "low": fit.low, "high": fit.high, "rounds": fit.count}
    if limit:
        entry["verdict"] = verdicts.growth_verdict(fit, limit.limit).word
        entry["reason"] = "" if fit.count >= LEAST_ROUNDS else f"a look: {fit.count} rounds"
    return entry


def failed(program: Path, why: str) -> dict[str, Any]:
    return {"subject": program.name, "unit": "", "limit": None, "why": "", "note": "", "exponent": None,
            "verdict": verdicts.FAILED, "reason": why, "points": []}


def _wanted(programs: Programs) -> list[Call]:
    """Each program with its subject; workers want a scheduler that steals, connections are shown on every backend."""
    found: list[Call] = []
    for program in programs_of(programs.build):
        if program.name == "growth":
            found += [Call(program, (subject,), sched="work_stealing" if subject == "workers" else "")
                      for subject in SUBJECTS]
        elif program.name == "connections":
            found += [Call(program, backend=backend, sched="local") for backend in programs.backends]
        else:
            found.append(Call(program))
    return [call for call in found if not call.sched or call.sched in programs.scheds]


def connections(programs: Programs, rounds: int, lengths: Lengths, growth: tuple[Growth, ...]) -> list[dict[str, Any]]:
    """CPU time a request, on every backend, as far as the limit of open files lets one process go."""
    server = programs.servers.get("examples/echo")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if server is None or not (programs.build / "bench/load/nxload").exists():
        return []
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    report = []
    try:
        for backend in programs.backends:
            found = []
            subject = f"connections, CPU time a request, {backend}"
            try:
                for _ in range(rounds):
                    points = []
                    for n in (c for c in CONNECTIONS if c + 256 < hard):
                        run_ = Run("ours", "echo", str(server), connections=n, backend=backend, sched="local")
                        points.append((float(n), perform(programs, run_, lengths).metrics["cpu_ns"]))
                    found.append({"unit": "ns", "points": points})
                report.append(merge(subject, found, growth))
            except (RunError, ServerError) as error:
                report.append({**failed(server, str(error)), "subject": subject})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return report


def expected_minutes(quick: bool) -> float:
    return ROUND_MINUTES * (1 if quick else LEAST_ROUNDS)


def measure(programs: Programs, rounds: int, growth: tuple[Growth, ...]) -> list[dict[str, Any]]:
    report: list[dict[str, Any]] = []
    for call in _wanted(programs):
        by_subject: dict[str, list[dict[str, Any]]] = {}
        why = ""
        for _ in range(rounds):
            subjects, why = run(programs, call)
            if why:
                report.append(failed(call.program, why))
                break
            for one in subjects:
                by_subject.setdefault(one["subject"], []).append(one)
        report += [merge(subject, found, growth) for subject, found in by_subject.items()]
    return report
