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
FEW, MANY = 1000, 4000  # requests: the difference of two counts leaves out starting and ending
CLIENTS = 50
CLIENT_SECONDS = 20.0
SLOW_START_SECONDS, SLOW_END_SECONDS = 20.0, 5.0  # under valgrind
ATTEMPTS = 3  # a program that waits in io_uring sometimes hangs under valgrind 3.19


class ProfileError(Exception):
    """No figure; the text says why."""


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
        raise ProfileError("perf took no samples")
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


def _count(command: list[str], env: dict[str, str], requests: int) -> int:
    valgrind = _tool("valgrind", "valgrind")
    full = [valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null", *command]
    trouble = ""
    for _ in range(ATTEMPTS):
        server = Server(full, env, None, SLOW_START_SECONDS, SLOW_END_SECONDS)
        try:
            with server:
                _request(server.address, requests)
        except (ServerError, OSError) as error:
            trouble = str(error)
            continue
        found = re.search(r"Collected : (\d+)", server.errors)
        if found:
            return int(found.group(1))
        trouble = f"callgrind printed no count: {_last_line(server.errors)}"
    raise ProfileError(f"under callgrind: {trouble}")


def instructions(command: list[str], env: dict[str, str]) -> float:
    """User-space instructions a request."""
    if not Path(command[0]).exists():
        raise ProfileError(f"{command[0]} is not built")
    return (_count(command, env, MANY) - _count(command, env, FEW)) / (MANY - FEW)
