"""What nexus bench rests on: statistics against known values, the rule of verdicts, goals.json, a run with programs
that are not what they say, the page. Nothing here takes a time."""

import contextlib
import io
import json
import os
import pathlib
import random
import re
import sys
import tempfile
import unittest
import xml.dom.minidom

from nexus_bench import cli, figures, goals, growth, page, profile, readme, rounds, running, text, verdicts

GOALS = pathlib.Path(os.environ["srcdir"]) / "bench/goals.json"

FAKE_NEXUS = """#!/bin/sh
echo '{"plugins": [{"kind": "backend", "name": "epoll", "state": "chosen", "priority": 50, "reason": ""},
 {"kind": "backend", "name": "iouring", "state": "unusable", "priority": 80, "reason": "EPERM"},
 {"kind": "scheduler", "name": "local", "state": "chosen", "priority": 80, "reason": ""}]}'
"""
# CASE=VALUE...: a Google Benchmark program that always says so; FAIL fails
FAKE_MICRO = """#!/bin/sh
for argument; do case $argument in
--benchmark_list_tests) printf '%s\\n' {names}; exit 0 ;;
--benchmark_filter=*) name=${{argument#*=^}}; name=${{name%$}} ;;
esac; done
case $name in {branches} esac
printf '{{"benchmarks": [{{"name": "%s", "real_time": %s, "cpu_time": 1, "time_unit": "ns"}}]}}' "$name" "$value"
"""
FAKE_SERVER = """#!/bin/sh
echo "{name}: listening on 127.0.0.1:1"
trap 'exit 0' TERM
while :; do sleep 0.02; done
"""
# CPU time and speed by who serves; FAKE_ERRORS makes it fail, and before FAKE_EMPTY seconds nothing is answered
FAKE_LOAD = """#!/bin/sh
for argument; do case $argument in --pid=*) pid=${argument#*=} ;; --duration=*) window=${argument#*=} ;; esac; done
cpu=5000; rps=200000; errors=0; requests=1000
awk "BEGIN { exit !($window < ${FAKE_EMPTY:-0}) }" && requests=0
! grep -q raw "/proc/$pid/cmdline" || { cpu=4000; rps=160000; }
[ -z "$FAKE_ERRORS" ] || errors=3
echo '{"requests": '$requests', "requests_per_second": '$rps', "latency_ns_p50": 1000, "latency_ns_p99": 1200,
 "latency_ns_p99_9": 3000, "errors": '$errors', "errors_corrupt": '$errors', "server_cpu_ns_per_request": '$cpu',
 "bytes_verified": 64000, "percentiles": [[0.0, 900], [0.5, 1000], [0.99, 1200], [0.999, 3000]]}'
[ $errors = 0 ]
"""


class BuildFolder:
    """A build folder of fakes."""

    def __init__(self, folder):
        self.path = pathlib.Path(folder)
        self.put("tools/nexus", FAKE_NEXUS)
        self.put("bench/peers/peers.json", json.dumps({"peers": [
            {"name": name, "package": f"{name}-dev", "micro": f"bench/peers/micro_{name}", "version": ["echo", "1.2"],
             "lacks": {"two": "no twos"}} for name in ("libuv", "libev")]}))

    def put(self, name, script):
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(script)
        file.chmod(0o755)

    def micro(self, name, **values):
        branches = " ".join(f"{case}) value={value} ;;" if value != "FAIL" else
                            f"{case}) echo went wrong >&2; exit 3 ;;"
                            for case, value in values.items())
        self.put(name, FAKE_MICRO.format(names=" ".join(values), branches=branches))

    def servers(self):
        self.put("examples/echo", FAKE_SERVER.format(name="echo"))
        self.put("bench/raw/echo_epoll", FAKE_SERVER.format(name="raw"))
        self.put("bench/load/nxload", FAKE_LOAD)

    def bench(self, rows, *arguments, env=None):
        """Exit status, what was printed, the report."""
        wanted = self.path / "goals.json"
        wanted.write_text(json.dumps({"version": 1, "rows": rows}))
        report = self.path / "report.json"
        out, err = io.StringIO(), io.StringIO()
        os.environ.update(env or {})
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = cli.main([f"--build={self.path}", f"--goals={wanted}", f"--json={report}", "--duration=0.01",
                                   "--seed=1", "--no-instructions", *arguments])
        finally:
            for name in env or {}:
                del os.environ[name]
        return status, out.getvalue() + err.getvalue(), json.loads(report.read_text()) if report.exists() else None


def micro_row(goal, who="raw", **more):
    return {"id": "one", "area": "spawn", "title": "one & only", "table": "", "kind": "micro", "case": "one",
            "metric": "real_time", "unit": "ns", "better": "less", "against": [{"who": who, "goal": goal}], **more}


def echo_row(goal, **more):
    return {"id": "echo", "area": "echo", "title": "echo", "table": "", "kind": "echo", "connections": 50,
            "metric": "cpu_ns", "unit": "ns", "better": "less", "pinned": False,
            "against": [{"who": "raw", "goal": goal, "program": "echo_epoll"}], **more}


def verdict(low, median, high, goal, better="less", **more):
    return verdicts.judge(figures.Estimate(median, low, high, 15, True), goal, better, **more)


class Statistics(unittest.TestCase):
    def test_the_ranks_of_the_interval_are_those_of_the_tables(self):
        known = {5: None, 6: 1, 8: 1, 9: 2, 10: 2, 12: 3, 15: 4, 20: 6, 25: 8, 30: 10, 50: 18, 100: 40}
        self.assertEqual({n: figures.median_rank(n) for n in known}, known)

    def test_the_interval_covers_the_median_as_often_as_it_says(self):
        dice = random.Random(7)
        covered = 0
        for _ in range(2000):
            e = figures.estimate([dice.expovariate(1) for _ in range(15)])
            covered += e.low <= 0.6931 <= e.high
        self.assertGreater(covered / 2000, 0.945)  # 0.965 by the binomial
        self.assertLess(covered / 2000, 0.985)

    def test_few_rounds_give_all_that_was_seen_and_say_so(self):
        e = figures.estimate([3.0, 1.0, 2.0])
        self.assertEqual((e.median, e.low, e.high, e.exact), (2.0, 1.0, 3.0, False))

    def test_ratios_are_of_the_same_round(self):
        self.assertEqual(figures.paired([2.0, None, 9.0], [1.0, 5.0, 3.0], False), [2.0, 3.0])
        self.assertEqual(figures.paired([2.0, 4.0], [1.0, None], True), [1.0])

    def test_quartiles(self):
        s = figures.summary([4.0, 1.0, 3.0, 2.0, 5.0])
        self.assertEqual((s.low, s.median, s.high), (2.0, 3.0, 4.0))

    def test_exponents_of_known_powers(self):
        for power in (0.0, 0.5, 1.0, 2.0):
            points = [(n, 3.0 * n**power) for n in (1, 10, 1000, 100000)]
            self.assertAlmostEqual(figures.exponent(points), power)
        self.assertIsNone(figures.exponent([(10, 1.0), (10, 2.0)]))


class Verdicts(unittest.TestCase):
    def test_an_interval_on_one_side_of_the_goal_decides(self):
        self.assertEqual(verdict(0.9, 1.0, 1.1, 1.1).word, "met")
        self.assertEqual(verdict(1.2, 1.3, 1.4, 1.1).word, "missed")
        self.assertEqual(verdict(1.0, 1.1, 1.2, 1.1).word, "within noise")

    def test_more_can_be_better(self):
        self.assertEqual(verdict(2.5, 2.6, 2.7, 2.5, "more").word, "met")
        self.assertEqual(verdict(2.2, 2.3, 2.4, 2.5, "more").word, "missed")
        self.assertEqual(verdict(2.4, 2.5, 2.6, 2.5, "more").word, "within noise")

    def test_under_three_percent_instructions_decide(self):
        close = {"low": 1.015, "median": 1.02, "high": 1.028, "goal": 1.01}
        self.assertEqual(verdict(**close).word, "missed")
        self.assertEqual(verdict(**close, fine=True, instructions=(470, 70)).word, "met")
        self.assertEqual(verdict(**close, fine=True, instructions=(471, 70)).word, "missed")
        self.assertIn("valgrind", verdict(**close, fine=True, why_none="valgrind not found").reason)

    def test_from_three_percent_on_and_where_met_they_do_not(self):
        self.assertEqual(verdict(1.02, 1.031, 1.04, 1.01, fine=True, instructions=(0, 70)).word, "missed")
        self.assertEqual(verdict(0.99, 1.0, 1.01, 1.01, fine=True, instructions=(9999, 70)).word, "met")

    def test_a_raw_program_behind_a_peer_is_no_limit(self):
        def warning(low, median, exact=True):
            return verdicts.baseline_warning("raw", "libev", figures.Estimate(median, low, 1.2, 15, exact))
        self.assertEqual(warning(1.019, 1.03), "")
        self.assertIn("raw is 5.3 % behind libev, 2.5 % at least", warning(1.025, 1.053))
        self.assertEqual(warning(1.1, 1.15, exact=False), "")  # a few rounds say nothing


class Goals(unittest.TestCase):
    def test_every_area_of_the_table_is_there(self):
        wanted = goals.read(GOALS)
        self.assertGreaterEqual(len(wanted.rows), 45)
        self.assertEqual({row.area for row in wanted.rows},
                         {"echo", "latency", "fairness", "workers", "spawn", "switch", "channel", "wake", "timer",
                          "memory", "file", "pool", "boundary"})
        self.assertTrue(all(goal.goal > 0 for row in wanted.rows for goal in row.against))
        self.assertIsNotNone(growth.limit_of("anything", wanted.growth))

    def refuses(self, sentence, *rows):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "goals.json"
            file.write_text(json.dumps({"version": 1, "rows": rows}))
            with self.assertRaisesRegex(goals.GoalsError, sentence):
                goals.read(file)

    def test_what_is_wrong_is_named(self):
        good = micro_row(1.0)
        self.refuses("row 'one': unknown: goall", {**good, "goall": 1})
        self.refuses("row 'one': missing: metric", {k: v for k, v in good.items() if k != "metric"})
        self.refuses("not for kind 'micro': depth", {**good, "depth": 3})
        self.refuses("better is", {**good, "better": "fewer"})
        self.refuses("who is 'them'", {**good, "against": [{"who": "them", "goal": 1}]})
        self.refuses("row 'one': is there twice", good, good)
        self.refuses("held against nothing", {**good, "against": []})


class Runs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.build = BuildFolder(folder.name)

    def test_met_and_missed_and_the_exit_status_of_check(self):
        self.build.micro("bench/micro/all", one=30)
        self.build.micro("bench/raw/all", one=20)
        status, _, report = self.build.bench([micro_row(1.6)], "--rounds=15", "--check")
        row = report["rows"][0]
        self.assertEqual((status, row["verdict"], row["ratio"]["median"], row["ratio"]["rounds"]), (0, "met", 1.5, 15))
        self.assertEqual((row["ratio"]["exact"], report["look"], row["reason"]), (True, False, ""))
        status, out, report = self.build.bench([micro_row(1.4)], "--rounds=15", "--check")
        self.assertEqual((status, report["rows"][0]["verdict"]), (1, "missed"))
        self.assertRegex(out, r"one & only .*1\.4 × raw all +30\.0 ns +20\.0 +1\.5 .* missed")
        status, _, _ = self.build.bench([micro_row(1.4)], "--rounds=2")
        self.assertEqual(status, 0)

    def test_a_look_says_so(self):
        self.build.micro("bench/micro/all", one=30)
        self.build.micro("bench/raw/all", one=20)
        _, out, report = self.build.bench([micro_row(1.6)], "--quick")
        self.assertTrue(report["look"])
        self.assertIn("a look: 3 rounds", report["rows"][0]["reason"])
        self.assertIn("a look: 15 make a verdict", out)

    def test_within_noise_is_not_missed(self):
        self.build.put("bench/micro/all", FAKE_MICRO.format(
            names="one", branches=f"one) c={self.build.path}/c; echo >>$c; value=$((15 + ($(wc -l <$c) % 2) * 30)) ;;"))
        self.build.micro("bench/raw/all", one=20)
        status, _, report = self.build.bench([micro_row(1.5)], "--rounds=15", "--check")
        self.assertEqual((status, report["rows"][0]["verdict"]), (0, "within noise"))

    def test_a_program_that_fails_is_a_failed_row_with_its_reason(self):
        self.build.micro("bench/micro/all", one="FAIL")
        self.build.micro("bench/raw/all", one=20)
        status, out, report = self.build.bench([micro_row(1.6)], "--rounds=2")
        self.assertEqual((status, report["rows"][0]["verdict"]), (1, "failed"))
        self.assertIn("status 3: went wrong", report["rows"][0]["reason"])
        self.assertIn("went wrong", out)

    def test_what_is_not_built_is_skipped_with_the_package(self):
        self.build.micro("bench/micro/all", one=30)
        status, _, report = self.build.bench([micro_row(1.6), {**micro_row(1.0, "peer:libev"), "id": "two"}],
                                             "--rounds=2")
        first, second = report["rows"]
        self.assertEqual((status, first["verdict"], first["figure"]["median"]), (0, "skipped", 30.0))
        self.assertIn("libbenchmark-dev", first["reason"])
        self.assertIn("libev is not built (Debian: libev-dev)", second["reason"])

    def test_the_best_peer_counts_and_a_raw_program_behind_it_is_warned_of(self):
        self.build.micro("bench/micro/all", one=30)
        self.build.micro("bench/raw/all", one=40)
        self.build.micro("bench/peers/micro_libuv", one=60)
        self.build.micro("bench/peers/micro_libev", one=25)
        _, _, report = self.build.bench([micro_row(1.6), {**micro_row(1.0, "peers"), "id": "two"}], "--rounds=6")
        first, second = report["rows"]
        self.assertIn("60.0 % behind libev", first["warnings"][0])
        self.assertEqual((second["against"]["name"], second["ratio"]["median"]), ("libev", 1.2))
        self.assertEqual(report["peers"], ["libev 1.2", "libuv 1.2"])
        self.build.micro("bench/micro/all", one=30, two=1)
        _, _, report = self.build.bench([{**micro_row(1.0, "peer:libev"), "case": "two"}], "--rounds=2")
        self.assertIn("libev has no two: no twos", report["rows"][0]["reason"])
        _, _, report = self.build.bench([micro_row(1.6)], "--rounds=2", "--no-peers")
        self.assertEqual((report["rows"][0]["warnings"], report["peers"]), ([], []))

    def test_echo_is_held_against_the_raw_server_of_the_same_round(self):
        self.build.servers()
        _, _, report = self.build.bench([echo_row(1.3)], "--rounds=1", "--judged-only")
        row = report["rows"][0]
        self.assertEqual((row["verdict"], row["ratio"]["median"], row["cell"]), ("met", 1.25, "epoll/local"))
        self.assertEqual({c["who"] for c in report["latencies"]}, {"ours", "raw"})

    def test_an_open_loop_drives_all_at_half_of_what_the_slowest_does(self):
        self.build.servers()
        row = {**echo_row(1.0), "kind": "paced", "metric": "p99_ns", "judged": False}
        _, _, report = self.build.bench([row], "--rounds=1", "--judged-only")
        self.assertEqual(report["rows"][0]["verdict"], "not judged")
        self.assertEqual({c["shape"] for c in report["latencies"]},
                         {"50 connections, 80000 requests/s in an open loop"})

    def test_wrong_bytes_fail_the_row(self):
        self.build.servers()
        status, _, report = self.build.bench([echo_row(1.3)], "--rounds=1", env={"FAKE_ERRORS": "1"})
        self.assertEqual((status, report["rows"][0]["verdict"]), (1, "failed"))
        self.assertIn("3 corrupt", report["rows"][0]["reason"])

    def test_a_window_without_an_answer_is_tried_again_and_a_dead_server_told(self):
        self.build.servers()
        _, _, report = self.build.bench([echo_row(1.3)], "--rounds=1", env={"FAKE_EMPTY": "0.08"})
        self.assertEqual(report["rows"][0]["verdict"], "met")
        status, _, report = self.build.bench([echo_row(1.3)], "--rounds=1", env={"FAKE_EMPTY": "0.09"})
        self.assertEqual((status, report["rows"][0]["verdict"]), (1, "failed"))
        self.assertIn("4 times in a row", report["rows"][0]["reason"])

    def test_a_cell_that_can_not_run_is_skipped(self):
        self.build.micro("bench/micro/all", one=30)
        self.build.micro("bench/raw/all", one=20)
        _, _, report = self.build.bench([micro_row(1.6, cells=["iouring/*"])], "--rounds=1")
        self.assertEqual(report["rows"][0]["verdict"], "skipped")
        self.assertEqual(report["problems"], ["iouring: EPERM"])

    def test_what_can_not_be_meant_is_said_before_anything_runs(self):
        self.build.micro("bench/micro/all", one="FAIL")
        self.build.micro("bench/raw/all", one="FAIL")
        look = self.build.path / "README.md"
        look.write_text("<!-- performance: begin -->\n<!-- performance: end -->\n")
        for arguments, part in ((["--backend=kqueue"], "no backend kqueue; there are: epoll"),
                                (["--backend=iouring"], "iouring can't run here: EPERM"),
                                (["--scheduler=fair"], "no scheduler fair; there are: local"),
                                (["--html=/nonexistent/x.html"], "/nonexistent/x.html can't be written"),
                                ([f"--readme={look}", "--quick"], "--readme wants 15 rounds"),
                                ([f"--from={look}"], "is no report of nexus bench"),
                                ([f"--from={look}", "--rows=one"], "--rows means nothing beside it"),
                                (["--rounds=0"], "--rounds is from 1 on")):
            status, out, report = self.build.bench([micro_row(1.6)], *arguments)
            self.assertEqual((status, report), (2, None), arguments)
            self.assertIn(part, out)

    def test_a_run_that_is_interrupted_keeps_the_rounds_that_are_over(self):
        runs = [running.Run("ours", "micro", "p", case=case) for case in ("one", "two")]
        done = []

        def perform(run):
            done.append(run)
            if len(done) == 6:
                raise KeyboardInterrupt
            return running.Result({"real_time": 1.0})
        with contextlib.redirect_stderr(io.StringIO()) as err:
            series = rounds.measure(runs, 15, perform, running.Lengths(0.1, 0.1, 0.1), 1, runs)
        self.assertEqual([len(one.results) for one in series.values()], [2, 2])
        self.assertIn("2 of 15 rounds", err.getvalue())
        done.clear()
        with self.assertRaises(KeyboardInterrupt):
            rounds.measure(runs, 15, lambda run: (_ for _ in ()).throw(KeyboardInterrupt),
                           running.Lengths(0.1, 0.1, 0.1), 1, runs)

    def test_the_list_runs_nothing(self):
        self.build.micro("bench/micro/all", one="FAIL")
        self.build.micro("bench/raw/all", one="FAIL")
        status, out, report = self.build.bench([micro_row(1.6)], "--list")
        self.assertEqual((status, report), (0, None))
        self.assertIn("one@epoll/local", out)

    def test_what_no_verdict_rests_on_is_measured_in_two_rounds_of_five(self):
        self.build.micro("bench/micro/all", one=30)
        self.build.micro("bench/raw/all", one=20)
        self.build.micro("bench/peers/micro_libuv", one=25)
        _, _, report = self.build.bench([micro_row(1.6)])
        row = report["rows"][0]
        self.assertEqual((row["verdict"], row["ratio"]["rounds"], row["reason"]), ("met", 15, ""))
        measured = {bar["label"]: bar["figure"]["rounds"] for bar in row["bars"]}
        self.assertEqual(measured, {"epoll × local": 15, "raw all": 15, "libuv": 6})
        self.assertIsNotNone(figures.median_rank(6))
        self.assertIsNone(figures.median_rank(5))

    def test_help_and_manual_know_the_same_options(self):
        pages = pathlib.Path(os.environ["srcdir"]) / "doc/man/nexus-bench.1"
        described = set(re.findall(r"Fl -([a-z-]+)", pages.read_text(encoding="utf-8")))
        known = {name[2:] for name in re.findall(r"--[a-z-]+", cli.parser().format_help())} - {"help"}
        self.assertEqual(known - described, set())
        self.assertEqual(described - known, set())

    def test_no_build_folder_and_no_row_are_said(self):
        status, out, _ = self.build.bench([micro_row(1.6)], "--rows=zwei-*")
        self.assertEqual(status, 1)
        self.assertIn("no row is like that", out)
        err = io.StringIO()
        with contextlib.redirect_stderr(err):
            self.assertEqual(cli.main([f"--build={self.build.path}/nowhere"]), 1)
        self.assertIn("is not a build folder", err.getvalue())


class Reports(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        build = BuildFolder(folder.name)
        build.servers()
        build.micro("bench/micro/all", one=30, two="FAIL")
        build.micro("bench/raw/all", one=20, two=1)
        two = {**micro_row(1.0), "id": "two", "case": "two", "title": "<two> | \"more\""}
        build.put("bench/growth/fake", "#!/bin/sh\necho '{\"subject\": \"tasks <n>\", \"unit\": \"ns\", \"points\": "
                  "[{\"n\": 1000, \"value\": 5}, {\"n\": 1000000, \"value\": 50}]}'\n")
        _, _, self.report = build.bench([micro_row(1.4), two, echo_row(1.3)], "--rounds=2", "--growth")

    def test_the_page_is_well_formed_and_needs_nothing_else(self):
        made = page.html(self.report)
        xml.dom.minidom.parseString(made)
        self.assertNotRegex(made, r"https?:|//[a-z]|<script|@import|url\(")
        for wanted in ("prefers-color-scheme: dark", "missed", "failed", "met", "&lt;two&gt;", "tasks &lt;n&gt;",
                       "<polyline"):
            self.assertIn(wanted, made)

    def test_growth_is_fitted(self):
        grown = self.report["growth"][0]
        self.assertAlmostEqual(grown["exponent"]["median"], 1 / 3)
        limit = (goals.Growth("tasks*", 0.1, 1, ""),)
        rounds = growth.parse('{"subject": "tasks", "points": [{"n": 10, "value": 1}, {"n": 100, "value": 10}]}') * 3
        self.assertEqual(growth.merge("tasks", rounds, limit)["verdict"], "missed")

    def test_readme_is_written_between_its_markers_with_misses(self):
        file = self.folder / "README.md"
        file.write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n")
        for _ in range(2):
            readme.rewrite(file, self.report)
        made = file.read_text()
        self.assertTrue(made.startswith("before\n") and made.endswith("\nafter\n"))
        self.assertNotIn("old", made)
        self.assertIn("**missed**", made)
        self.assertIn("\\|", made)
        self.assertIn(self.report["machine"]["processor"], made)
        self.assertEqual(made.count(readme.BEGIN), 1)
        file.write_text("no place")
        with self.assertRaises(readme.ReadmeError):
            readme.rewrite(file, self.report)

    def test_a_report_can_be_read_again(self):
        file = self.folder / "report.json"
        html = self.folder / "page.html"
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            status = cli.main([f"--from={file}", f"--html={html}"])
        self.assertEqual(status, 1)  # a program failed in it
        self.assertEqual(html.read_text(), page.html(self.report))

    def test_numbers_keep_what_counts(self):
        shown = [text.number(v) for v in (0.0702, 2.9, 30.44, 4646.2, 207900, 3.17e6)]
        self.assertEqual(shown, ["0.070", "2.90", "30.4", "4646", "208 k", "3.17 M"])


class Profiles(unittest.TestCase):
    def test_the_user_column_is_added_up(self):
        self.assertAlmostEqual(profile.parse_shares("  80.00%   1.50%  echo\n  18.00%   0.50%  w1\n"), 2.0)
        with self.assertRaises(profile.ProfileError):
            profile.parse_shares("")

    def test_total_of_a_callgrind_file(self):
        self.assertEqual(profile.parse_total("events: Ir\nsummary: 12\nfn=(1) main\n1 12\n\ntotals: 12\n"), 12)
        with self.assertRaises(profile.ProfileError):
            profile.parse_total("events: Ir\n")


class Tap(unittest.TestResult):
    def say(self, word, test, rest=""):
        print(f"{word} {self.testsRun} - {test.id().split('.test_')[-1]}{rest}", flush=True)

    def addSuccess(self, test):
        self.say("ok", test)

    def addSkip(self, test, reason):
        self.say("ok", test, f" # SKIP {reason}")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.say("not ok", test)
        print(re.sub(r"(?m)^", "# ", self.failures[-1][1]))

    def addError(self, test, err):
        super().addError(test, err)
        self.say("not ok", test)
        print(re.sub(r"(?m)^", "# ", self.errors[-1][1]))


if __name__ == "__main__":
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    print(f"1..{suite.countTestCases()}")
    result = Tap()
    suite.run(result)
    sys.exit(not result.wasSuccessful())
