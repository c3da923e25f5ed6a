#!/bin/sh
# bench/growth/connections: a few connections; its JSON has every point and every limit, its servers and clients end
# with it, and where files are scarce it takes more processes and says so. Output: TAP.
command -v python3 >/dev/null || { echo "python3 not found (Debian: python3)"; exit 77; }
[ -x "$NXT_BUILD/bench/load/nxload" ] || { echo "the load generator is not built"; exit 77; }
exec python3 -B "$srcdir/tests/bench/growth.py" "$srcdir/bench/growth/connections.py" "$NXT_BUILD"
