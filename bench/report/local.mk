# bench/report/: `nexus bench`: runs the programs of bench/ in rounds, judges them by goals.json, writes the report. Python,
# with nothing but its standard library; what is installed can do all of it, the programs it runs stay in the build folder.
benchdir = $(libexecdir)/nexus
benchmodulesdir = $(benchdir)/nexus_bench
bench_report_modules = bench/report/nexus_bench/__init__.py bench/report/nexus_bench/charts.py \
	bench/report/nexus_bench/cli.py bench/report/nexus_bench/counting.py bench/report/nexus_bench/figures.py \
	bench/report/nexus_bench/goals.py bench/report/nexus_bench/growth.py bench/report/nexus_bench/judging.py \
	bench/report/nexus_bench/machine.py bench/report/nexus_bench/pace.py bench/report/nexus_bench/page.py \
	bench/report/nexus_bench/plan.py bench/report/nexus_bench/profile.py bench/report/nexus_bench/programs.py \
	bench/report/nexus_bench/readme.py bench/report/nexus_bench/rounds.py bench/report/nexus_bench/running.py \
	bench/report/nexus_bench/servers.py bench/report/nexus_bench/style.py bench/report/nexus_bench/text.py \
	bench/report/nexus_bench/verdicts.py
if BUILD_TOOLS
dist_bench_SCRIPTS = bench/report/nexus-bench
dist_bench_DATA = bench/goals.json bench/peers/peers.json
dist_benchmodules_DATA = $(bench_report_modules)
endif
EXTRA_DIST += bench/report/nexus-bench bench/goals.json bench/peers/peers.json $(bench_report_modules)

# Half an hour with every peer; BENCH_FLAGS=--quick is a look of some minutes.
bench-report: bench-programs
	tools/nexus bench --json=bench-report.json --html=bench-report.html $(BENCH_FLAGS)
	@echo "written: bench-report.json, bench-report.html"
.PHONY: bench-report
CLEANFILES += bench-report.json bench-report.html
