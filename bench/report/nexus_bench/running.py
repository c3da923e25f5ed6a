"""A run: one program under one environment, once; what it measured."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Callable, Optional

from . import profile
from .programs import Programs
from .servers import Server, failure_of, on_cpu

NS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}
MESSAGE = 64
RUN_SECONDS = 120  # a program that takes longer hangs
SETTLE_SECONDS = 0.5  # the end of load is not idleness yet
WINDOWS_EMPTY = 4  # without a figure, each twice as long as the one before: the server is gone, not late


class RunError(Exception):
    """The program failed; the text says how."""


class EmptyWindowError(RunError):
    """Nothing happened while it was measured: the machine stood still, or the server is gone."""


class SkipError(Exception):
    """This machine has no means to measure it."""


@dataclass(frozen=True)
class Run:
    who: str  # "ours", "raw", "peer:NAME"
    kind: str
    program: str
    case: str = ""
    connections: int = 0
    depth: int = 1
    pinned: bool = True
    workers: int = 1
    backend: str = ""
    sched: str = ""
    env: tuple[tuple[str, str], ...] = ()
    rate: float = 0.0  # open loop: messages a second

    @property
    def label(self) -> str:
        name = Path(self.program).name if self.who == "raw" else self.who.removeprefix("peer:")
        if self.who == "ours":
            name = f"{self.backend} × {self.sched}"
        extra = [f"{k}={v}" for k, v in self.env]
        return " ".join([name, *extra])


@dataclass
class Result:
    metrics: dict[str, float] = field(default_factory=dict)
    percentiles: list[list[float]] = field(default_factory=list)


@dataclass(frozen=True)
class Lengths:
    """Seconds: of a window of load, before it, and of a micro case."""

    window: float = 1.0
    warmup: float = 0.2
    micro: float = 0.1


def _micro(programs: Programs, run: Run, lengths: Lengths) -> Result:
    command = [run.program, f"--benchmark_filter=^{run.case}$", f"--benchmark_min_time={lengths.micro:g}",
               "--benchmark_format=json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=RUN_SECONDS,
                              env=programs.environment(run.backend, run.sched, run.workers, run.env))
    except subprocess.TimeoutExpired as error:
        raise RunError(f"took more than {RUN_SECONDS} s") from error
    except OSError as error:
        raise RunError(str(error)) from error
    if done.returncode != 0:
        raise RunError(failure_of(done.returncode, done.stderr))
    try:
        entries = json.loads(done.stdout)["benchmarks"]
        entry = next(e for e in entries if e["name"].split("/process_time")[0] == run.case)
        if entry.get("error_occurred"):
            raise RunError(str(entry.get("error_message", "error_occurred")))
        unit = NS[entry.get("time_unit", "ns")]
        metrics = {k: float(v) for k, v in entry.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
        metrics.update(real_time=entry["real_time"] * unit, cpu_time=entry["cpu_time"] * unit)
    except (StopIteration, ValueError, KeyError, TypeError) as error:
        raise RunError(f"prints no Google Benchmark JSON with {run.case}: {error!r}") from error
    return Result(metrics)


def load_command(programs: Programs, run: Run, server: Server, lengths: Lengths) -> list[str]:
    threads = 1 if run.pinned else max(1, min(run.workers, run.connections))
    paced = [f"--rate={run.rate:.0f}"] if run.rate else []
    return [str(programs.build / "bench/load/nxload"), "--json", f"--address={server.address}", f"--pid={server.pid}",
            f"--size={MESSAGE}", f"--connections={run.connections}", f"--pipeline={run.depth}", f"--threads={threads}",
            f"--duration={lengths.window:g}", f"--warmup={lengths.warmup:g}", *paced]


def _loaded(command: list[str], pinned: bool, lengths: Lengths) -> Result:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              timeout=lengths.window + lengths.warmup + 30, preexec_fn=on_cpu(1) if pinned else None)
    except subprocess.TimeoutExpired as error:
        raise RunError("the load generator did not end") from error
    except OSError as error:
        raise RunError(str(error)) from error
    return _load_result(done.returncode, done.stdout, done.stderr)


def _load_result(status: int, out: str, err: str) -> Result:
    try:
        report = json.loads(out)
    except ValueError as error:
        raise RunError(f"nxload: {failure_of(status, err)}") from error
    if status != 0 or report.get("errors"):
        errors = ", ".join(f"{v} {k.removeprefix('errors_')}" for k, v in report.items()
                           if k.startswith("errors_") and v)
        raise RunError(f"wrong answers: {errors or failure_of(status, err)}")
    if report["requests"] <= 0:
        raise EmptyWindowError("no request was answered in the window")
    p50 = max(float(report["latency_ns_p50"]), 1.0)
    metrics = {"rps": report["requests_per_second"], "p50_ns": p50, "p99_ns": float(report["latency_ns_p99"]),
               "p99_9_ns": float(report["latency_ns_p99_9"]), "p99_over_p50": report["latency_ns_p99"] / p50,
               "p999_over_p50": report["latency_ns_p99_9"] / p50}
    if "server_cpu_ns_per_request" in report:
        metrics["cpu_ns"] = report["server_cpu_ns_per_request"]
    return Result(metrics, [[float(q), float(ns)] for q, ns in report.get("percentiles", [])])


def _serve(programs: Programs, run: Run) -> Server:
    ours = run.who == "ours"
    arguments = ["127.0.0.1:0"] + ([] if ours else [str(run.workers)])
    env = programs.environment(run.backend, run.sched, run.workers if ours else 0, run.env)
    return Server([run.program, *arguments], env, on_cpu(0) if run.pinned else None)


def _echo(programs: Programs, run: Run, lengths: Lengths) -> Result:
    with _serve(programs, run) as server:
        return _loaded(load_command(programs, run, server, lengths), run.pinned, lengths)


def cpu_ns(pid: int) -> int:
    """CPU time of a process's threads that live."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has ended
    return total


def _idle(programs: Programs, run: Run, lengths: Lengths) -> Result:
    with _serve(programs, run) as server:
        load = Run(**{**run.__dict__, "connections": 50, "pinned": False, "workers": 1})
        _loaded(load_command(programs, load, server, Lengths(0.3, 0.1)), False, lengths)
        time.sleep(SETTLE_SECONDS)
        began, before = time.monotonic(), cpu_ns(server.pid)
        time.sleep(lengths.window)
        used, seconds = cpu_ns(server.pid) - before, time.monotonic() - began
    return Result({"idle_cpu_ns": used / seconds})


def _share(programs: Programs, run: Run, lengths: Lengths) -> Result:
    """Profiled while it is loaded; all that nxload sent counts for the system calls, its warming up too."""
    with tempfile.TemporaryDirectory() as folder, _serve(programs, run) as server:
        command = load_command(programs, run, server, Lengths(lengths.window + 0.6, lengths.warmup))
        try:
            command = profile.counting(server.pid, f"{folder}/stat", command)
        except profile.ProfileError as error:
            raise SkipError(str(error)) from error
        load = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                preexec_fn=on_cpu(1) if run.pinned else None)
        try:
            time.sleep(lengths.warmup + 0.2)
            metrics = {"user_share": profile.user_share(server.pid, lengths.window)}
            out, err = load.communicate(timeout=lengths.window + 30)
        except profile.NoSamplesError as error:
            raise EmptyWindowError(str(error)) from error
        except profile.ProfileError as error:
            raise SkipError(str(error)) from error
        finally:
            if load.poll() is None:
                load.kill()
                load.communicate()
        calls = profile.counted(f"{folder}/stat")
    _load_result(load.returncode, out, err)
    requests = json.loads(out)["bytes_verified"] / MESSAGE
    metrics.update({name: count / requests for name, count in calls.items()})
    return Result(metrics)


KINDS: dict[str, Callable[[Programs, Run, Lengths], Result]] = {
    "micro": _micro, "echo": _echo, "idle": _idle, "share": _share, "paced": _echo}


def perform(programs: Programs, run: Run, lengths: Lengths) -> Result:
    """An empty window is measured again."""
    for _ in range(WINDOWS_EMPTY):
        try:
            return KINDS[run.kind](programs, run, lengths)
        except EmptyWindowError as error:
            why = str(error)
            lengths = replace(lengths, window=2 * lengths.window)
    raise RunError(f"{why}, {WINDOWS_EMPTY} times in a row")


def expected_seconds(run: Run, lengths: Lengths, measured: Optional[float]) -> float:
    if measured is not None:
        return measured
    if run.kind == "micro":
        return 6 * lengths.micro + (4 if "live" in run.case else 0)
    if run.kind == "instructions":
        return 12  # once in all rounds
    extra = {"echo": 0.2, "paced": 0.2, "idle": 1.2, "share": 1.8}[run.kind]
    return lengths.window + lengths.warmup + extra


def cpu_count() -> int:
    return len(os.sched_getaffinity(0))
