#!/bin/sh
# A task's header is at most 192 bytes, and 100,000 parked tasks cost at most 4.6 KiB resident each, all told.
. "$(dirname "$0")/lib.sh"
memory() { figure_of "$show/parked_tasks" memory; }
on_each_cell memory
