"""bench/growth/connections, small: growth.py PROGRAM BUILD_FOLDER."""

import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time

PROGRAM, BUILD = sys.argv[1:3]
CASES = 0
FAILED = False


def check(good, what, shown=""):
    global CASES, FAILED
    CASES += 1
    FAILED = FAILED or not good
    if not good:
        print(f"# {shown}")
    print(f"{'ok' if good else 'not ok'} {CASES} - {what}", flush=True)


def command(*options):
    return [sys.executable, "-B", PROGRAM, f"--build={BUILD}", "--duration=0.1", "--windows=1", *options]


def few_files():
    resource.setrlimit(resource.RLIMIT_NOFILE, (600, 600))


def run(*options, setup=None):
    done = subprocess.run(command(*options), capture_output=True, text=True, check=False, timeout=60, preexec_fn=setup)
    try:
        return done, json.loads(done.stdout)
    except ValueError:
        return done, {}


def descendants(pid):
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rsplit(")", 1)[1].split()[1]) == pid:
                found.append(int(stat.parent.name))
        except (OSError, ValueError):
            pass
    return found


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def ends_all(number):
    """Whether its children are gone soon after that signal."""
    null = subprocess.DEVNULL
    with subprocess.Popen(command("--max=200", "--duration=30"), stdout=null, stderr=null) as it:
        until = time.monotonic() + 20
        while len(children := descendants(it.pid)) < 3 and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(it.pid, number)
        it.wait(20)
    while any(alive(child) for child in children) and time.monotonic() < until:
        time.sleep(0.02)
    return len(children) == 3 and not any(alive(child) for child in children)


done, report = run("--max=200")
check(done.returncode == 0 and report.get("verified") == "all", "ends well, every byte compared", done.stderr)
points = report.get("points", [])
check([p["n"] for p in points] == [50, 100, 200] and all(p["value"] > 0 for p in points), "a figure for each number",
      points)
limits = {limit["name"]: limit for limit in report.get("limits", [])}
check({"RLIMIT_NOFILE", "net.ipv4.ip_local_port_range", "net.core.somaxconn", "vm.max_map_count"} <= set(limits)
      and not limits["RLIMIT_NOFILE"]["met"], "every limit is there, and none was met", limits)

done, report = run("--max=200", setup=few_files)
limits = {limit["name"]: limit for limit in report.get("limits", [])}
check(report.get("servers") == report.get("clients") == 2 and report.get("idle") == 150,
      "few open files: two servers and two clients have the same number", done.stderr or report)
files = limits.get("RLIMIT_NOFILE", {})
check(files.get("met") is True and files.get("value") == 600, "and the limit is named", limits)

done, report = run("--max=1000")
last = report.get("points", [{}])[-1]
# What the kernel has is the whole machine's: other programs' sockets come and go meanwhile.
check(last.get("bytes", 0) > 1000 and isinstance(last.get("kernel_bytes"), float), "memory of an idle connection", last)

done = subprocess.run([*command("--max=60")[:3], "--build=/nonexistent"], capture_output=True, text=True, check=False)
check(done.returncode == 1 and "connections: " in done.stderr and not done.stdout, "no server: says so, and 1",
      done.stderr)
check(ends_all(signal.SIGTERM), "SIGTERM: servers and clients end, too")
check(ends_all(signal.SIGKILL), "SIGKILL: servers and clients end, too")
print(f"1..{CASES}")
sys.exit(FAILED)
