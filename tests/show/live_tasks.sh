#!/bin/sh
# 100,000 live tasks, each stack ending in a guard, at the default limit of mappings.
. "$(dirname "$0")/lib.sh"
guards() { figure_of "$show/parked_tasks" guards; }
on_each_cell guards
