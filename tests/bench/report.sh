#!/bin/sh
# nexus bench judges and reports as it says; measures nothing. Output: TAP.
command -v python3 >/dev/null || { echo "python3 not found (Debian: python3)"; exit 77; }
PYTHONPATH=$srcdir/bench/report exec python3 -B "$srcdir/tests/bench/report.py"
