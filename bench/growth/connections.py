#!/usr/bin/env python3
"""
connections: what a request costs, and what a connection that is idle takes, while many are open.

50 connections are busy on one server all the time; the others, up to 100,000 in all, echo a message when they are
opened, are held, and echo another at the end; every byte is compared. A process may have so many files open and no
more, so there are as many servers and as many clients as that asks for, each server at a loopback address of its own,
and each client at several. The busy server is filled first: it has as many idle ones as a process can.

    connections [--max=N] [--duration=SECONDS] [--windows=N] [--build=DIR]

One JSON object: {"subject", "unit", "points": [{"n", "value", "bytes", "kernel_bytes", ...}], "limits": [...]}. n
counts all that are open; value is CPU time of the busy server, ns a request, the median of the windows; stolen is how
much of a CPU the machine's host gave to others meanwhile; bytes is resident memory of the servers for an idle
connection, page tables included; kernel_bytes is slab and socket memory of both its ends, by what the whole machine
has more than at first. limits has every limit of the kernel on the way: its value, what was used of it, whether it
was met.
NEXUS_BACKEND and NEXUS_SCHED are what the environment says.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import resource
import select
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Optional

ACTIVE = 50
MESSAGE = 64
SPARE_FILES = 512  # of a process, beside connections: its own files, those of a ring, and the busy connections
WAVE = 128  # messages under way while opening: within any listen backlog
# From one address: there are 28,000 ports, and connect(2) takes every other one first: from half of them on it walks
# over 14,000 that are taken before it finds the next, and 10,000 connections take 10 s instead of one.
PORTS_PER_SOURCE = 8192
IP_BIND_ADDRESS_NO_PORT = 24
REPLY_SECONDS = 20.0
STEP_SECONDS = 240.0
BYTES_EXPECTED = 24 * 1024  # of a connection, both ends with all that is around them, in user space and in the kernel
STOLEN = 0.01  # of a window: a virtual machine's CPU that its host gives to others counts as the server's
TRIES = 4  # windows for each that is wanted
WINDOWS_EMPTY = 20  # without a request, one after the other: the server is gone, not late
LEAST_SIZED = 1000  # fewer are lost in what else the machine keeps
SLABS = ("TCP", "sock_inode_cache", "dentry", "filp", "eventpoll_epi", "eventpoll_pwq", "ep_head", "io_kiocb")
PAGE = os.sysconf("SC_PAGE_SIZE")


class LimitReached(Exception):
    """The machine does not let there be more."""


class BrokenError(Exception):
    """Something is wrong with what is measured, not with the machine."""


# ---- a holder: the client's side of many idle connections, a process of its own ----


def message(number: int, turn: int) -> bytes:
    return hashlib.sha512(b"%d %d" % (number, turn)).digest()  # 64 bytes that nothing else sends


class Holder:
    """Reads `open N` and `check` from stdin, answers a line each; the end of stdin closes all."""

    def __init__(self, address: str) -> None:
        host, port = address.rsplit(":", 1)
        self._target = (host, int(port))
        self._held: list[socket.socket] = []
        self._turn: list[int] = []

    def _send(self, number: int) -> None:
        self._held[number].sendall(message(number, self._turn[number]))

    def _receive(self, number: int) -> None:
        expected = message(number, self._turn[number])
        got = self._held[number].recv(MESSAGE, socket.MSG_WAITALL)
        if got != expected:
            raise BrokenError(f"connection {number} echoes {len(got)} bytes that are not those it was sent")
        self._turn[number] += 1

    def _echo(self, first: int, end: int) -> None:
        for number in range(first, end):
            self._send(number)
        for number in range(first, end):
            self._receive(number)

    def open(self, count: int) -> None:
        end = len(self._held) + count
        while (first := len(self._held)) < end:
            for _ in range(min(WAVE, end - first)):
                one = socket.socket()
                self._held.append(one)
                self._turn.append(0)
                one.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
                one.bind((f"127.1.0.{1 + (len(self._held) - 1) // PORTS_PER_SOURCE}", 0))
                one.settimeout(REPLY_SECONDS)
                one.connect(self._target)
                one.settimeout(None)
                # A bound on every wait, and no poll(2) before each call as settimeout() has it.
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(REPLY_SECONDS), 0))
            self._echo(first, len(self._held))

    def check(self) -> None:
        for first in range(0, len(self._held), WAVE):
            self._echo(first, min(first + WAVE, len(self._held)))

    def close(self) -> None:
        for one in self._held:  # a reset: 100,000 ports in TIME_WAIT would be in the next run's way
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()

    def run(self) -> None:
        for line in sys.stdin:
            word, _, rest = line.strip().partition(" ")
            try:
                if word == "open":
                    self.open(int(rest))
                else:
                    self.check()
                answer: dict[str, Any] = {"ok": len(self._held)}
            except OSError as error:
                answer = {"limit": error.strerror or str(error), "held": len(self._held) - 1}
            except BrokenError as error:
                answer = {"broken": str(error)}
            print(json.dumps(answer), flush=True)
        self.close()


# ---- processes, each ended by its pid ----


def ends_with_us() -> None:
    """In the child: however we end, even by SIGKILL, it does not stay behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def on_cpu(number: int) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) > 1:
        os.sched_setaffinity(0, {cpus[number % len(cpus)]})


class Child:
    def __init__(self, command: list[str], env: dict[str, str], cpu: Optional[int] = None) -> None:
        self._errors = tempfile.TemporaryFile()

        def setup() -> None:
            ends_with_us()
            if cpu is not None:
                on_cpu(cpu)

        self._process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=self._errors, preexec_fn=setup)
        self._said = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def line(self, seconds: float) -> str:
        """The next one it prints."""
        assert self._process.stdout
        until = time.monotonic() + seconds
        while b"\n" not in self._said:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise BrokenError(f"process {self.pid} says nothing for {seconds:g} s; {self._complaint()}")
            piece = os.read(self._process.stdout.fileno(), 4096)
            if not piece:
                raise BrokenError(f"process {self.pid} ended: {self._complaint()}")
            self._said += piece
        line, self._said = self._said.split(b"\n", 1)
        return line.decode()

    def answer(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.line(STEP_SECONDS))
        if "broken" in found:
            raise BrokenError(found["broken"])
        if "limit" in found:
            raise LimitReached(f"{found['limit']}, with {found['held']} open in that client")
        return found

    def _complaint(self) -> str:
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        return said[-1] if said else "without a word"

    def finish(self) -> None:
        """It has no more to do: ends its stdin."""
        assert self._process.stdin
        self._process.stdin.close()

    def wait(self) -> None:
        if self._process.wait(REPLY_SECONDS) != 0:
            raise BrokenError(f"process {self.pid}: {self._complaint()}")

    def end(self) -> None:
        for ask in (self._process.terminate, self._process.terminate, self._process.kill):
            if self._process.poll() is not None:
                break
            ask()  # twice: the second one cuts short what the first one lets finish
            try:
                self._process.wait(3)
            except subprocess.TimeoutExpired:
                pass
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream and not stream.closed:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass


# ---- what the kernel says ----


def sysctl(name: str) -> list[int]:
    try:
        return [int(word) for word in Path("/proc/sys", *name.split(".")).read_text().split()]
    except (OSError, ValueError):
        return []


def numbers(path: str) -> dict[str, int]:
    """`Key: 123 kB` lines, in bytes where they are kB."""
    found = {}
    for line in Path(path).read_text().splitlines():
        words = line.replace(":", " ").split()
        if len(words) > 1 and words[1].isdigit():
            found[words[0]] = int(words[1]) * (1024 if words[-1] == "kB" else 1)
    return found


def resident(pids: list[int]) -> int:
    total = 0
    for pid in pids:
        status = numbers(f"/proc/{pid}/status")
        total += status["VmRSS"] + status["VmPTE"]
    return total


def slabs() -> dict[str, int]:
    """Bytes of what a socket is made of; only root may read them."""
    found = {}
    try:
        lines = Path("/proc/slabinfo").read_text().splitlines()
    except OSError:
        return {}
    for line in lines:
        words = line.split()
        if words[0] in SLABS:
            found[words[0]] = int(words[14]) * int(words[5]) * PAGE  # num_slabs x pagesperslab
    return found


def sockstat() -> dict[str, int]:
    """Of TCP: inuse, orphan, tw, alloc, mem (pages)."""
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        words = line.split()
        if words[0] == "TCP:":
            return {k: int(v) for k, v in zip(words[1::2], words[2::2])}
    return {}


def counters() -> dict[str, int]:
    """The TcpExt ones."""
    lines = [line.split() for line in Path("/proc/net/netstat").read_text().splitlines()]
    names, values = [line for line in lines if line[0] == "TcpExt:"][:2]
    return dict(zip(names[1:], map(int, values[1:])))


def stolen_ticks() -> int:
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return int(words[8]) if len(words) > 8 else 0


class Memory:
    def __init__(self, servers: list[int], clients: list[int]) -> None:
        info = numbers("/proc/meminfo")
        self.user = resident(servers)
        self.clients = resident(clients)
        self.kernel = info["Slab"] + sockstat()["mem"] * PAGE
        self.available = info["MemAvailable"]
        self.slabs = slabs()


class Limits:
    """Every limit on the way: what is used of it, and whether it was met, which the kernel's own counters tell."""

    def __init__(self, files: int) -> None:
        self._before = counters()
        self._files = files
        self._tcp: dict[str, int] = {}

    def look(self) -> None:
        for key, value in sockstat().items():
            self._tcp[key] = max(self._tcp.get(key, 0), value)

    def _counted(self, *names: str) -> tuple[bool, str]:
        now = counters()
        grown = {name: now.get(name, 0) - self._before.get(name, 0) for name in names}
        return any(grown.values()), ", ".join(f"{name} + {value}" for name, value in grown.items())

    def report(self, wanted: int, per_process: int, groups: int, servers: list[int]) -> list[dict[str, Any]]:
        ports = sysctl("net.ipv4.ip_local_port_range")
        port_count = ports[1] - ports[0] + 1 if len(ports) == 2 else 0
        sources = -(-min(wanted, per_process) // PORTS_PER_SOURCE)
        maps = max((sum(1 for _ in open(f"/proc/{pid}/maps", "rb")) for pid in servers), default=0)
        entries = [("RLIMIT_NOFILE", self._files, min(wanted, per_process) + SPARE_FILES, groups > 1,
                    f"{groups} server(s) and as many clients, {per_process} idle connections each at most"),
                   ("net.ipv4.ip_local_port_range", port_count, min(wanted, PORTS_PER_SOURCE), wanted > port_count // 2,
                    f"ports of a client's address to a server's, half of them found fast; "
                    f"{groups} server address(es), {sources} of clients to each")]

        def add(name: str, used: int, met: bool, what: str) -> None:
            value = sysctl(name)
            if value:
                entries.append((name, value[-1], used, met, what))

        # A full queue is one that drops, and that is counted; if ours was never as long it was another program's.
        for name, drops in (("net.core.somaxconn", ("ListenOverflows", "ListenDrops")),
                            ("net.ipv4.tcp_max_syn_backlog", ("TCPReqQFullDrop", "TCPReqQFullDoCookies"))):
            dropped, what = self._counted(*drops)
            add(name, WAVE, dropped and WAVE >= max(sysctl(name), default=WAVE + 1), what)
        add("net.ipv4.tcp_mem", self._tcp.get("mem", 0), *self._counted("TCPMemoryPressures", "TCPAbortOnMemory"))
        add("net.ipv4.tcp_max_orphans", self._tcp.get("orphan", 0), *self._counted("TCPAbortOnMemory"))
        add("net.ipv4.tcp_max_tw_buckets", self._tcp.get("tw", 0), *self._counted("TCPTimeWaitOverflow"))
        room = sysctl("vm.max_map_count")
        add("vm.max_map_count", maps, bool(room) and maps >= room[0], "mappings of the largest server")
        used = sysctl("fs.file-nr")
        add("fs.file-max", used[0] if used else 0, False, "files open on the machine")
        add("fs.epoll.max_user_watches", wanted, False, "descriptors in epoll sets, if all were")
        tracked = sysctl("net.netfilter.nf_conntrack_count")
        room = sysctl("net.netfilter.nf_conntrack_max")
        if tracked and room:
            add("net.netfilter.nf_conntrack_max", tracked[0], tracked[0] >= room[0], "connections that are tracked")
        return [dict(zip(("name", "value", "used", "met", "what"), entry)) for entry in entries]


# ---- the run ----


class Bench:
    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._build: Path = options.build
        _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
        self._per_process = min(files - SPARE_FILES, 250 * PORTS_PER_SOURCE)
        if self._per_process < 1:
            raise BrokenError(f"{files} open files (ulimit -n) are too few")
        self._idle = max(options.max - ACTIVE, 0)
        self._groups = max(1, -(-self._idle // self._per_process))
        self._limits = Limits(files)
        self._servers: list[Child] = []
        self._addresses: list[str] = []
        self._holders: list[Child] = []
        self._held: list[int] = []

    def _environment(self) -> dict[str, str]:
        env = dict(os.environ)
        env.setdefault("NEXUS_PLUGIN_PATH", f"{self._build}/backends/.libs:{self._build}/sched/.libs")
        env.setdefault("NEXUS_SCHED", "local")
        env.setdefault("NEXUS_WORKERS", "1")
        return env

    def _start(self) -> None:
        env = self._environment()
        for k in range(self._groups):
            server = Child([str(self._build / "examples/echo"), f"127.0.0.{1 + k % 250}:0", "1000"], env,
                           0 if k == 0 else None)
            self._servers.append(server)
            said = server.line(REPLY_SECONDS)
            if "listening on " not in said:
                raise BrokenError(f"the server says: {said}")
            self._addresses.append(said.rsplit("listening on ", 1)[1].split()[0])
            self._holders.append(Child([sys.executable, "-B", __file__, f"--hold={self._addresses[k]}"], env))
            self._held.append(0)

    def _grow(self, idle: int) -> None:
        """Fills the busy server first; each client at work at the same time as the others."""
        needed = idle - sum(self._held)
        room = numbers("/proc/meminfo")["MemAvailable"]
        if needed * BYTES_EXPECTED > room:
            raise LimitReached(f"memory: {needed} more want {needed * BYTES_EXPECTED >> 20} MiB of {room >> 20}")
        asked = []
        for k, holder in enumerate(self._holders):
            more = min(self._per_process - self._held[k], needed)
            if more > 0:
                holder.ask(f"open {more}")
                asked.append((k, more))
                needed -= more
        for k, more in asked:
            self._holders[k].answer()
            self._held[k] += more
        for k, server in enumerate(self._servers):
            there = len(os.listdir(f"/proc/{server.pid}/fd"))
            if there < self._held[k]:
                raise BrokenError(f"server {k} has {there} descriptors, and {self._held[k]} connections are held")

    def _windows(self) -> tuple[list[float], float]:
        """As many as wanted that were not stolen; else those of which least was, and how much."""
        found: list[tuple[float, float]] = []
        wanted = self._options.windows
        while sum(stolen <= STOLEN for stolen, _ in found) < wanted and len(found) < TRIES * wanted:
            begun, ticks = time.monotonic(), stolen_ticks()
            value = self._window()
            stolen = (stolen_ticks() - ticks) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - begun)
            found.append((stolen, value))
        best = sorted(found)[:wanted]
        return [value for _, value in best], best[-1][0]

    def _window(self) -> float:
        for _ in range(WINDOWS_EMPTY):
            report = self._load()
            if report["requests"] > 0:
                return float(report["server_cpu_ns_per_request"])
        raise BrokenError(f"no request was answered in any of {WINDOWS_EMPTY} windows")

    def _load(self) -> dict[str, Any]:
        command = [str(self._build / "bench/load/nxload"), "--json", f"--address={self._addresses[0]}",
                   f"--pid={self._servers[0].pid}", f"--connections={ACTIVE}", f"--size={MESSAGE}", "--warmup=0.1",
                   f"--duration={self._options.duration:g}"]

        def setup() -> None:
            ends_with_us()
            on_cpu(1)

        done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=setup,
                              timeout=self._options.duration + 60)
        try:
            report: dict[str, Any] = json.loads(done.stdout)
        except ValueError as error:
            raise BrokenError(f"nxload: {done.stderr.strip() or done.returncode}") from error
        if done.returncode != 0 or report.get("errors"):
            errors = {name: count for name, count in report.items() if name.startswith("errors") and count}
            raise BrokenError(f"nxload: {errors or done.returncode}: {done.stderr.strip()}")
        return report

    def _look(self) -> Memory:
        self._limits.look()
        return Memory([s.pid for s in self._servers], [h.pid for h in self._holders])

    def _point(self, n: int, empty: Memory) -> dict[str, Any]:
        begun = time.monotonic()
        self._grow(n - ACTIVE)
        opened = time.monotonic()
        memory = self._look()
        values, stolen = self._windows()
        point: dict[str, Any] = {"n": n, "value": round(statistics.median(values), 1), "bytes": 0, "kernel_bytes": 0,
                                 "low": round(min(values), 1), "high": round(max(values), 1),
                                 "seconds": round(opened - begun, 2),
                                 "stolen": round(stolen, 3)}
        idle = sum(self._held)
        if idle < LEAST_SIZED - ACTIVE:
            return point
        clients = memory.clients - empty.clients
        point.update(
            bytes=round((memory.user - empty.user) / idle, 1),
            kernel_bytes=round((memory.kernel - empty.kernel) / idle, 1),
            client_bytes=round(clients / idle, 1), servers_mib=round(memory.user / 2**20, 1),
            kernel_mib=round((memory.kernel - empty.kernel) / 2**20, 1),
            available_mib=round((memory.available - empty.available) / 2**20, 1),
            slab_bytes={k: round((size - empty.slabs.get(k, 0)) / idle, 1) for k, size in memory.slabs.items()})
        return point

    def _steps(self) -> list[int]:
        steps, n = [ACTIVE], 100
        while n <= self._options.max:
            steps.append(n)
            n *= 10
        if self._options.max > steps[-1]:
            steps.append(self._options.max)
        return steps

    def run(self) -> dict[str, Any]:
        begun = time.monotonic()
        self._start()
        self._window()  # what a server takes for its first connections is not the idle ones'
        empty = self._look()
        points: list[dict[str, Any]] = []
        notes: list[str] = []
        stopped = False
        for n in self._steps():
            try:
                points.append(self._point(n, empty))
            except LimitReached as reached:
                notes.append(f"stopped before {n}: {reached}")
                stopped = True
                break
        worst = max((p["stolen"] for p in points), default=0)
        if worst > STOLEN:
            notes.append(f"the host took {worst * 100:.0f} % of a CPU in the worst window: it counts as the server's")
        limits = self._limits.report(self._options.max, self._per_process, self._groups, [s.pid for s in self._servers])
        if not stopped:
            for holder in self._holders:
                holder.ask("check")
            for holder in self._holders:
                holder.answer()
        for holder in self._holders:
            holder.finish()
        for holder in self._holders:
            holder.wait()
        return {"subject": "idle connections", "unit": "ns CPU/request", "points": points, "limits": limits,
                "note": "; ".join(notes), "active": ACTIVE, "servers": self._groups, "clients": self._groups,
                "idle": sum(self._held), "verified": "all" if not stopped else "when they were opened",
                "seconds": round(time.monotonic() - begun, 1)}

    def end(self) -> None:
        for child in self._holders + self._servers:
            child.end()


def at_end(number: int, _: Any) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    parser = argparse.ArgumentParser(prog="connections", description="What open connections cost, as JSON.")
    parser.add_argument("--max", type=int, default=100000, help="connections in all (100000)")
    parser.add_argument("--duration", type=float, default=0.5, help="seconds of a window of load (0.5)")
    parser.add_argument("--windows", type=int, default=3, help="windows at each number (3)")
    parser.add_argument("--build", type=Path, default=Path(__file__).resolve().parents[2], help="the build folder")
    parser.add_argument("--hold", metavar="ADDRESS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.hold:
        _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
        Holder(options.hold).run()
        return 0
    if options.max < ACTIVE or options.windows < 1 or not 0 < options.duration <= 60:
        parser.error(f"--max is from {ACTIVE} on, --windows from 1, --duration above 0 and up to 60")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, at_end)
    try:
        bench = Bench(options)
        try:
            report = bench.run()
        finally:
            bench.end()
    except (BrokenError, OSError, subprocess.SubprocessError) as error:
        print(f"connections: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
