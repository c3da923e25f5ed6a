"""The table for people."""

from __future__ import annotations

import sys
import textwrap
from typing import Any, Optional

COLOURS = {"met": "32", "missed": "31", "failed": "31", "within noise": "33"}


def number(value: Optional[float]) -> str:
    """Three digits that count: 4646, 30.4, 2.90, 0.070; millions as 3.17 M."""
    if value is None:
        return "-"
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.2f} M"
    if size >= 1e5:
        return f"{value / 1e3:.0f} k"
    if size >= 100:
        return f"{value:.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 0.1 or size == 0 else f"{value:.3f}"


def whole(value: float) -> str:
    """A count: 50, 1 k, 100 k, 1 M."""
    for size, letter in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def goal_text(row: dict[str, Any]) -> str:
    sign = "≤" if row["better"] == "less" else "≥"
    name = row["against"]["name"] if row["against"] else row["wants"]
    if row["compare"] == "minus":
        return f"{sign} {name} + {row['goal']:g}".replace("  ", " ")
    return f"{sign} {row['goal']:.4g} × {name}".rstrip(" ×")


def ratio_text(row: dict[str, Any]) -> str:
    ratio = row["ratio"]
    if not ratio:
        return "-"
    plus = "+" if row["compare"] == "minus" else ""
    return f"{ratio['median']:{plus}.3g} [{ratio['low']:.3g}, {ratio['high']:.3g}]"


def figure_text(figure: Optional[dict[str, float]], unit: str = "") -> str:
    if not figure:
        return "-"
    return f"{number(figure['median'])} {unit}".strip()


def cells_of(row: dict[str, Any]) -> tuple[str, ...]:
    title = row["title"] + (f" ({row['cell']})" if row["cell"] else "")
    against = row["against"]["figure"] if row["against"] else None
    figure = figure_text(row["figure"], row["unit"])
    return title, goal_text(row), figure, figure_text(against), ratio_text(row), row["verdict"]


HEAD = ("row", "goal", "figure", "against", "ratio [95 %]", "verdict")


def table(report: dict[str, Any], colour: Optional[bool] = None) -> str:
    colour = sys.stdout.isatty() if colour is None else colour
    rows = [cells_of(row) for row in report["rows"]]
    widths = [max([len(HEAD[i])] + [len(row[i]) for row in rows]) for i in range(len(HEAD))]
    widths[0] = min(widths[0], 66)
    lines = ["  ".join(head.ljust(width) for head, width in zip(HEAD, widths)).rstrip()]
    area = ""
    for cells, row in zip(rows, report["rows"]):
        if row["area"] != area:
            area = row["area"]
            lines.append(f"-- {area}")
        padded = [cell.ljust(width) for cell, width in zip(cells, widths)]
        if colour:
            padded[-1] = f"\033[{COLOURS.get(row['verdict'], '0')}m{row['verdict']}\033[0m"
        lines.append("  ".join(padded).rstrip())
        notes = [row["reason"]] if row["reason"] else []
        for note in notes + row["warnings"]:
            lines += textwrap.wrap(note, 110, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines + growth_lines(report) + [""] + [summary_line(report)])


def growth_lines(report: dict[str, Any]) -> list[str]:
    lines = ["-- growth: cost of one among n, as n to the power of"] if report["growth"] else []
    for one in report["growth"]:
        fit = one["exponent"]
        power = f"{fit['median']:+.3f} [{fit['low']:.3f}, {fit['high']:.3f}]" if fit else "-"
        limit = f"≤ {one['limit']:g}" if one["limit"] is not None else ""
        lines.append(f"{one['subject']:40}  {limit:8}  {power:26}  {one['verdict']}  {one['reason']}".rstrip())
        if one["note"]:
            lines += textwrap.wrap(one["note"], 110, initial_indent="      ", subsequent_indent="      ")
    return lines


def counts(report: dict[str, Any]) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in report["rows"] + report["growth"]:
        found[one["verdict"]] = found.get(one["verdict"], 0) + 1
    return found


def summary_line(report: dict[str, Any]) -> str:
    order = ("met", "within noise", "missed", "failed", "skipped", "not judged")
    found = counts(report)
    text = ", ".join(f"{found[word]} {word}" for word in order if word in found)
    look = " (a look: 15 make a verdict)" if report["look"] else ""
    return f"{text or 'nothing'}; {report['rounds']} round{'s' * (report['rounds'] != 1)}{look}"
