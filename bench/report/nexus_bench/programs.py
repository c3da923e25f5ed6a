"""Which programs there are: ours, raw and the peers, what cases each has, and the cells that can run here."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LISTING_SECONDS = 20
LIBRARIES_OF_BENCHMARKS = "libbenchmark-dev, g++"


class MissingError(Exception):
    """Something is not there: the reason, and where Debian has it."""


@dataclass
class Programs:
    build: Path
    backends: list[str] = field(default_factory=list)
    scheds: list[str] = field(default_factory=list)
    cases: dict[str, dict[str, Path]] = field(default_factory=dict)  # by "micro", "raw", "peer:NAME": case -> program
    servers: dict[str, Path] = field(default_factory=dict)  # by "raw/echo_epoll", "peer:NAME", "examples/echo", ...
    packages: dict[str, str] = field(default_factory=dict)  # of every peer there could be
    lacks: dict[str, dict[str, str]] = field(default_factory=dict)  # by peer: case -> why it has none
    versions: dict[str, str] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)  # backend or scheduler -> why it can't run here
    problems: list[str] = field(default_factory=list)

    @property
    def peers(self) -> list[str]:
        names = {who[5:] for who in list(self.cases) + list(self.servers) if who.startswith("peer:")}
        return sorted(names)

    def case(self, group: str, name: str) -> Path:
        """The program of that group that has this case."""
        try:
            return self.cases[group][name]
        except KeyError:
            pass
        if group.startswith("peer:"):
            peer = group[5:]
            if peer in self.peers:
                why = self.lacks.get(peer, {}).get(name.split("/")[0], "its program has no such case")
                raise MissingError(f"{peer} has no {name}: {why}")
            raise MissingError(f"{peer} is not built (Debian: {self.packages.get(peer, peer)})")
        if group not in self.cases:
            raise MissingError(f"no program of bench/{group} is built: make bench-programs, for which configure wants "
                               f"{LIBRARIES_OF_BENCHMARKS}")
        raise MissingError(f"no program of bench/{group} has {name}")

    def server(self, name: str) -> Path:
        if name in self.servers:
            return self.servers[name]
        if name.startswith("peer:"):
            raise MissingError(f"{name[5:]} has no echo server built (Debian: {self.packages.get(name[5:], name[5:])})")
        package = " (Debian: liburing-dev)" if "uring" in name else ""
        raise MissingError(f"{name} is not built: make bench-programs{package}")

    def environment(self, backend: str, sched: str, workers: int, extra: tuple[tuple[str, str], ...]) -> dict[str, str]:
        """Only what a run asks for reaches the library, and plugins of the build tree."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("NEXUS_") or k == "NEXUS_PLUGIN_PATH"}
        env.setdefault("NEXUS_PLUGIN_PATH", f"{self.build}/backends/.libs:{self.build}/sched/.libs")
        if backend:
            env["NEXUS_BACKEND"] = backend
        if sched:
            env["NEXUS_SCHED"] = sched
        if workers:
            env["NEXUS_WORKERS"] = str(workers)
        env.update(extra)
        return env


def _executables(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(f for f in folder.iterdir()
                  if f.is_file() and os.access(f, os.X_OK) and f.suffix not in (".sh", ".py", ".so", ".la"))


def _list_cases(programs: Programs, program: Path) -> list[str]:
    try:
        done = subprocess.run([program, "--benchmark_list_tests"], capture_output=True, text=True, check=False,
                              timeout=LISTING_SECONDS, env=programs.environment("", "", 1, ()))
    except (OSError, subprocess.TimeoutExpired) as error:
        programs.problems.append(f"{program.name}: lists no cases: {error}")
        return []
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        programs.problems.append(f"{program.name}: --benchmark_list_tests ended with {done.returncode}: {last}")
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def _add_cases(programs: Programs, group: str, program: Path) -> None:
    for case in _list_cases(programs, program):
        programs.cases.setdefault(group, {}).setdefault(case, program)


def _read_peers(build: Path) -> list[dict[str, Any]]:
    """bench/peers/peers.json: of the build folder, of the sources, installed."""
    for path in (build / "bench/peers/peers.json", HERE.parent.parent / "peers/peers.json", HERE.parent / "peers.json"):
        if path.exists():
            return list(json.loads(path.read_text(encoding="utf-8"))["peers"])
    return []


def _version(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LISTING_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip().splitlines()[0][:40] if done.returncode == 0 and done.stdout.strip() else ""


def _find_peers(programs: Programs) -> None:
    for entry in _read_peers(programs.build):
        name = entry["name"].lower()  # as goals.json has it
        programs.packages[name] = entry.get("package", name)
        programs.lacks[name] = entry.get("lacks", {})
        server, micro = (programs.build / entry[key] if entry.get(key) else None for key in ("echo", "micro"))
        if server and os.access(server, os.X_OK):
            programs.servers[f"peer:{name}"] = server
        if micro and os.access(micro, os.X_OK):
            _add_cases(programs, f"peer:{name}", micro)
        if name in programs.peers:
            programs.versions[name] = _version(entry["version"]) if entry.get("version") else ""


def _cells(programs: Programs) -> None:
    nexus = programs.build / "tools/nexus"
    try:
        done = subprocess.run([nexus, "info", "--json"], capture_output=True, text=True, check=False,
                              timeout=LISTING_SECONDS, env=programs.environment("", "", 0, ()))
        plugins = json.loads(done.stdout)["plugins"]
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        raise MissingError(f"{nexus} info --json: {error}") from error
    for plugin in sorted(plugins, key=lambda p: -int(p.get("priority") or 0)):
        if plugin["state"] == "shadowed":
            continue
        if plugin["state"] not in ("chosen", "usable"):
            programs.unusable[plugin["name"]] = plugin["reason"]
            programs.problems.append(f"{plugin['name']}: {plugin['reason']}")
        elif int(plugin.get("priority") or 0) < 0:
            programs.unusable[plugin["name"]] = "it serves no client from outside: nothing here measures it"
        elif plugin["kind"] in ("backend", "driver"):
            programs.backends.append(plugin["name"])
        elif plugin["kind"] == "scheduler":
            programs.scheds.append(plugin["name"])


def find(build: Path, with_peers: bool) -> Programs:
    programs = Programs(build)
    _cells(programs)
    for server in ("examples/echo", "bench/micro/echo", "bench/micro/echo_builtin"):
        if os.access(build / server, os.X_OK):
            programs.servers[server.removeprefix("bench/")] = build / server
    for program in _executables(build / "bench/raw"):
        if program.name.startswith("echo"):
            programs.servers[f"raw/{program.name}"] = program
        else:
            _add_cases(programs, "raw", program)
    for program in _executables(build / "bench/micro"):
        if not program.name.startswith("echo") and not program.name.endswith("_builtin"):
            _add_cases(programs, "micro", program)
    if with_peers:
        _find_peers(programs)
    return programs
