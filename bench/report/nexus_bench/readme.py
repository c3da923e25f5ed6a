"""README's performance section, written from a report: every row, misses included, and the machine by name."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from . import text

BEGIN, END = "<!-- performance: begin -->", "<!-- performance: end -->"


WIDTH = 120


class ReadmeError(Exception):
    """The file has no place for it."""


def section(report: dict[str, Any]) -> str:
    """Between the markers nothing is written by hand."""
    m = report["machine"]
    virtual = ", virtual" if m["hypervisor"] == "yes" else ""
    about = (
        f"Measured {m['date']} on {m['cpus']} CPUs of {m['processor']}{virtual}, Linux {m['kernel']}, {m['compiler']}, "
        f"commit {m['commit']}: {text.summary_line(report)}. A goal is a ratio to the least program that does the same "
        "(raw), or to another runtime, in the same shuffled rounds; the figures are medians, the ratios medians of "
        "pairs with their 95 % interval. `nexus bench` measures it again; nexus-bench(1) has the rule.")
    lines = [
        BEGIN, "## Performance", "", *textwrap.wrap(about, WIDTH, break_long_words=False, break_on_hyphens=False), "",
        "| area | row | goal | figure | against | ratio | verdict |", "|---|---|---|---|---|---|---|"]
    area = ""
    for row in report["rows"]:
        title, goal, figure, against, ratio, verdict = text.cells_of(row)
        words = f"**{verdict}**" if verdict in ("missed", "failed") else verdict
        if verdict in ("failed", "skipped", "not judged") and row["reason"]:
            words += f": {row['reason']}"
        area, shown = row["area"], row["area"] if row["area"] != area else ""  # a group names it once
        cells = (shown, title, goal, figure, against, ratio, words)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    if report["growth"]:
        lines += ["", "Cost of one among n, as n to the power of:", "",
                  "| subject | range of n | limit | power | verdict |", "|---|---|---|---|---|"]
    for one in report["growth"]:
        fit, points = one["exponent"], one["points"]
        span = f"{text.whole(points[0]['n'])} to {text.whole(points[-1]['n'])}" if points else "-"
        limit = f"≤ {one['limit']:g}" if one["limit"] is not None else "-"
        power = f"{fit['median']:+.3f}" if fit else "-"
        words = f"**{one['verdict']}**" if one["verdict"] in ("missed", "failed") else one["verdict"]
        lines.append(f"| {one['subject']} | {span} | {limit} | {power} | {words} |")
    return "\n".join([*lines, "", END])


def _place(path: Path) -> tuple[str, int, int]:
    old = path.read_text(encoding="utf-8")
    begin, end = old.find(BEGIN), old.find(END)
    if begin < 0 or end < begin:
        raise ReadmeError(f"{path} has no lines '{BEGIN}' and '{END}'")
    return old, begin, end


def check(path: Path) -> None:
    """Whether there is a place for the section: asked before a run."""
    _place(path)


def rewrite(path: Path, report: dict[str, Any]) -> None:
    old, begin, end = _place(path)
    path.write_text(old[:begin] + section(report) + old[end + len(END):], encoding="utf-8")
