#!/bin/sh
# A sleep is never early, and late by no more than 1.2 x a raw wait of the kernel's (p50).
. "$(dirname "$0")/lib.sh"
sleeps() { figure_of "$show/sleep"; }
on_each_cell sleeps
