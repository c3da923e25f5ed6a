"""Echo servers: started, asked where they listen, ended in every case."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import tempfile
import time
from types import TracebackType
from typing import Callable, Optional, Type

START_SECONDS = 10.0
END_SECONDS = 3.0


PR_SET_PDEATHSIG = 1


class ServerError(Exception):
    """A server that doesn't come up."""


def on_cpu(number: int) -> Optional[Callable[[], None]]:
    """For preexec_fn: keeps the child on that one of our CPUs; None where there are too few to keep apart."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        return None
    cpu = cpus[number % len(cpus)]
    return lambda: os.sched_setaffinity(0, {cpu})


def ends_with_us(setup: Optional[Callable[[], None]]) -> Callable[[], None]:
    """For preexec_fn: does setup, and sees to it that the child does not outlive a bench that is killed."""
    prctl = ctypes.CDLL(None).prctl

    def in_child() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if setup:
            setup()
    return in_child


def failure_of(status: int, err: str) -> str:
    lines = [line for line in err.strip().splitlines() if line.strip()]
    how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
    return f"{how}: {lines[-1].strip()}" if lines else how


class Server:
    """with Server(...) as server: it listens on server.address, its process is server.pid."""

    def __init__(self, command: list[str], env: dict[str, str], setup: Optional[Callable[[], None]] = None,
                 start_seconds: float = START_SECONDS, end_seconds: float = END_SECONDS) -> None:
        self._command, self._env, self._setup = command, env, setup
        self._limit, self._end_limit = start_seconds, end_seconds
        self.address = ""
        self.errors = ""

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> "Server":
        self._stderr = tempfile.TemporaryFile()  # a pipe that nobody reads would stop it
        try:
            self._process = subprocess.Popen(self._command, env=self._env, stdout=subprocess.PIPE, stderr=self._stderr,
                                             preexec_fn=ends_with_us(self._setup))
        except OSError as error:
            self._stderr.close()
            raise ServerError(f"{self._command[0]}: {error.strerror}") from error
        try:
            self.address = self._await_address()
        except BaseException:
            self._end()
            raise
        return self

    def _await_address(self) -> str:
        until, said = time.monotonic() + self._limit, b""
        assert self._process.stdout
        while (left := until - time.monotonic()) > 0:
            if not select.select([self._process.stdout], [], [], left)[0]:
                break
            piece = os.read(self._process.stdout.fileno(), 4096)
            if not piece:
                self._process.wait()
                raise ServerError(f"does not listen: {failure_of(self._process.returncode, self._read_errors())}")
            said += piece
            for line in said.split(b"\n")[:-1]:
                if b"listening on " in line:
                    return line.rsplit(b"listening on ", 1)[1].split()[0].decode()
        raise ServerError(f"does not listen after {self._limit:g} s")

    def _read_errors(self) -> str:
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace")

    def _end(self) -> None:
        if self._process.poll() is None:
            for ask in (self._process.terminate, self._process.terminate, self._process.kill):
                ask()  # twice: the second one cuts short what the first one lets finish
                try:
                    self._process.wait(self._end_limit)
                    break
                except subprocess.TimeoutExpired:
                    pass
            self._process.wait()
        self.errors = self._read_errors()
        self._stderr.close()
        if self._process.stdout:
            self._process.stdout.close()

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self._end()
