# bench/micro/: one program per subject, on Google Benchmark: what an operation costs, through the public API.
# A program goes to EXTRA_PROGRAMS and bench_programs: built by `make bench-programs` alone.
