"""What perf and callgrind tell of a server: share of samples in user space, system calls, instructions a request."""

from __future__ import annotations

import errno
import re
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from .servers import Server, ServerError

FREQUENCY = 2500  # samples a second
FEW, MANY = 1000, 4000  # requests: the difference of two counts leaves out what connections cost
CLIENTS = 50
CLIENT_SECONDS = 20.0
SLOW_START_SECONDS = 20.0  # under valgrind
QUICK_END_SECONDS = 0.5    # one that waits in io_uring keeps valgrind 3.19 from its other threads, and does not end
DUMP_SECONDS = 10.0
ATTEMPTS = 3


class ProfileError(Exception):
    """No figure; the text says why."""


class NoSamplesError(ProfileError):
    """The server did nothing while perf looked."""


def _tool(name: str, package: str) -> str:
    path = shutil.which(name)
    if not path:
        raise ProfileError(f"{name} not found (Debian: {package})")
    return path


def _last_line(err: str) -> str:
    lines = [line.strip() for line in err.splitlines() if line.strip()]
    return lines[-1] if lines else "no word"


def parse_shares(report: str) -> float:
    """The "usr" column of perf report, in points of all samples."""
    user = 0.0
    seen = False
    for line in report.splitlines():
        found = re.match(r"\s*([\d.]+)%\s+([\d.]+)%", line)
        if found:
            user += float(found.group(2))
            seen = True
    if not seen:
        raise NoSamplesError("perf took no samples")
    return user


def counting(pid: int, file: str, command: list[str]) -> list[str]:
    """The command, with pid's system calls counted into the file while it runs, and how many answered EAGAIN."""
    return [_tool("perf", "linux-perf"), "stat", "-x,", "-o", file, "-e", "raw_syscalls:sys_enter",
            "-e", "raw_syscalls:sys_exit", "--filter", f"ret == -{errno.EAGAIN}", "-p", str(pid), "--", *command]


def counted(file: str) -> dict[str, int]:
    """What of it this user may count."""
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    found = {}
    for metric, event in (("syscalls", "sys_enter"), ("probes", "sys_exit")):
        first = next((line.split(",")[0] for line in lines if event in line), "")
        if first.isdigit():
            found[metric] = int(first)
    return found


def user_share(pid: int, seconds: float) -> float:
    perf = _tool("perf", "linux-perf")
    with tempfile.TemporaryDirectory() as folder:
        data = f"{folder}/perf.data"
        record = subprocess.run([perf, "record", "-q", "-e", "cpu-clock", "-F", str(FREQUENCY), "-o", data, "-p",
                                 str(pid), "--", "sleep", f"{seconds:g}"], capture_output=True, text=True, check=False)
        if record.returncode != 0:
            raise ProfileError(f"perf record: {_last_line(record.stderr)}")
        report = subprocess.run([perf, "report", "-i", data, "--stdio", "-q", "-F", "overhead_sys,overhead_us,comm"],
                                capture_output=True, text=True, check=False)
    return parse_shares(report.stdout)


def _request(address: str, requests: int) -> None:
    """A client that counts: CLIENTS connections, a message on each, then all the answers, until requests are done."""
    host, port = address.rsplit(":", 1)
    message = bytes(range(64))
    clients = [socket.create_connection((host, int(port)), timeout=CLIENT_SECONDS) for _ in range(CLIENTS)]
    try:
        for _ in range(requests // CLIENTS):
            for client in clients:
                client.sendall(message)
            for client in clients:
                got = b""
                while len(got) < len(message):
                    piece = client.recv(len(message) - len(got))
                    if not piece:
                        raise ProfileError("the server ended a connection")
                    got += piece
                if got != message:
                    raise ProfileError("wrong bytes came back")
    finally:
        for client in clients:
            client.close()


def parse_total(dump: str) -> int:
    """The instructions of one of callgrind's files."""
    found = re.search(r"^totals: (\d+)", dump, re.MULTILINE)
    if not found:
        raise ProfileError("callgrind's file has no total")
    return int(found.group(1))


def _since_last(pid: int, out: Path, dumps: int) -> int:
    """The instructions since the last dump; this is the dumps-th."""
    control = _tool("callgrind_control", "valgrind")
    try:
        asked = subprocess.run([control, "-d", str(pid)], capture_output=True, text=True, check=False,
                               timeout=DUMP_SECONDS)
        if asked.returncode != 0:
            raise ProfileError(f"callgrind_control: {_last_line(asked.stderr)}")
        return parse_total(Path(f"{out}.{dumps}").read_text(encoding="utf-8"))
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProfileError(f"callgrind wrote no counts: {error}") from error


def _counts(command: list[str], env: dict[str, str]) -> tuple[int, int]:
    """For FEW requests and for MANY, of a server that has warmed up."""
    valgrind = _tool("valgrind", "valgrind")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "counts"
        full = [valgrind, "--tool=callgrind", f"--callgrind-out-file={out}", *command]
        with Server(full, env, None, SLOW_START_SECONDS, QUICK_END_SECONDS) as server:
            counts = []
            for dumps, requests in enumerate((FEW, FEW, MANY), 1):
                _request(server.address, requests)
                counts.append(_since_last(server.pid, out, dumps))
    return counts[1], counts[2]


def instructions(command: list[str], env: dict[str, str]) -> float:
    """User-space instructions a request."""
    if not Path(command[0]).exists():
        raise ProfileError(f"{command[0]} is not built")
    trouble = ""
    for _ in range(ATTEMPTS):
        try:
            few, many = _counts(command, env)
            return (many - few) / (MANY - FEW)
        except (ServerError, ProfileError, OSError) as error:
            trouble = str(error)
    raise ProfileError(f"under callgrind: {trouble}")
