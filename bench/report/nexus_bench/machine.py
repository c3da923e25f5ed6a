"""The machine, the tools and the commit that figures belong to."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _first_line(command: list[str], folder: str = ".") -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10, cwd=folder)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout.strip().splitlines() or [""])[0] if done.returncode == 0 else ""


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return found.group(1).strip() if found else platform.machine()


def _from_makefile(build: Path, name: str) -> str:
    found = re.search(rf"^{name} = (.*)$", _read(str(build / "Makefile")), re.MULTILINE)
    return found.group(1).strip() if found else ""


def describe(build: Path) -> dict[str, str]:
    compiler = _from_makefile(build, "CC") or "cc"
    source = _from_makefile(build, "abs_top_srcdir") or str(build)
    memory = re.search(r"^MemTotal:\s*(\d+)", _read("/proc/meminfo"), re.MULTILINE)
    commit = _first_line(["git", "rev-parse", "--short=12", "HEAD"], source)
    if commit and _first_line(["git", "status", "--porcelain", "--untracked-files=no"], source):
        commit += ", with changes"
    return {
        "processor": _processor(),
        "cpus": str(len(os.sched_getaffinity(0))),
        "memory": f"{int(memory.group(1)) / 1048576:.1f} GiB" if memory else "unknown",
        "hypervisor": "yes" if re.search(r"^flags\s*:.*\bhypervisor\b", _read("/proc/cpuinfo"), re.MULTILINE) else "no",
        "kernel": platform.release(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or "none",
        "compiler": _first_line([*compiler.split()[:1], "--version"]) or compiler,
        "flags": _from_makefile(build, "CFLAGS") or "unknown",
        "version": _first_line([str(build / "tools/nexus"), "--version"]) or "unknown",
        "commit": commit or "unknown",
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }
