"""Inline SVG. Strips and bars are placed by percentages, so that they fit any width and no text is ever scaled."""

from __future__ import annotations

import math
from html import escape
from typing import Any, Optional, Sequence

from .text import number, ratio_text

MARKS = {"met": "✓", "within noise": "≈", "missed": "✗", "failed": "!", "skipped": "–", "not judged": "–"}
STRIP = 2.0  # a strip shows from half the goal to twice the goal
CARD_WIDTH, CARD_HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 14, 40
LINES = 10  # colours of lines that the page's style has


def slug(verdict: str) -> str:
    return verdict.replace(" ", "-")


def _to_goal(row: dict[str, Any], value: float) -> Optional[float]:
    """How far from the goal: below 1 is better than it, whichever way the row counts."""
    goal = row["goal"]
    if row["compare"] == "minus":
        return 2.0 ** ((value - goal) / max(abs(goal), 1e-9))  # the goal's size once more is as far as twice a ratio
    if value == 0 and row["better"] == "less":
        return 1e-9  # nothing at all: as far ahead as can be
    if value <= 0 or goal <= 0:
        return None
    return value / goal if row["better"] == "less" else goal / value


def _place(relative: float) -> float:
    """Percent from the left: the goal in the middle, better to the left."""
    share = math.log(max(relative, 1e-9)) / math.log(STRIP)
    return 50 + 46 * max(-1.0, min(1.0, share))


def strip(row: dict[str, Any]) -> str:
    """A row against its goal: a dot with its interval, the goal's line in the middle."""
    parts = ['<div class="strip"><svg width="100%" height="24" role="img">']
    ratio = row["ratio"]
    parts.append(f"<title>{escape(row['title'])}: {escape(ratio_text(row))}, goal {row['goal']:.3g}, "
                 f"{escape(row['verdict'])}</title>")
    middle = _to_goal(row, ratio["median"]) if ratio else None
    if ratio and middle is not None:
        ends = [_to_goal(row, ratio[key]) or middle for key in ("low", "high")]
        low, high, at = _place(min(ends)), _place(max(ends)), _place(middle)
        kind = slug(row["verdict"])
        parts.append(f'<line class="reach {kind}" x1="{low:.2f}%" x2="{high:.2f}%" y1="12" y2="12"/>')
        if abs(math.log(middle)) > math.log(STRIP):  # further than the strip reaches
            way = "◀" if middle < 1 else "▶"
            parts.append(f'<text class="far {kind}" x="{at:.2f}%" y="17" text-anchor="middle">{way}</text>')
        else:
            parts.append(f'<circle class="dot {kind}" cx="{at:.2f}%" cy="12" r="5.5"/>')
    return "".join(parts) + "</svg></div>"


def bars(entries: Sequence[dict[str, Any]], unit: str) -> str:
    """A bar per program, with the middle half of its rounds as a whisker; all of a chart on one scale from 0."""
    longest = max([e["figure"]["high"] for e in entries] + [e["figure"]["median"] for e in entries]) or 1.0
    parts = ['<div class="bars">']
    for entry in entries:
        figure, who = entry["figure"], entry["who"]
        scale = 96 / longest
        width, low, high = (max(figure[k] * scale, 0.0) for k in ("median", "low", "high"))
        parts.append(
            f'<div class="name">{escape(entry["label"])}</div>'
            f'<svg width="100%" height="18" role="img"><title>{escape(entry["label"])}: {number(figure["median"])} '
            f'{escape(unit)}, half of the rounds from {number(figure["low"])} to {number(figure["high"])}</title>'
            f'<rect class="bar {who}" x="0" y="3" width="{width:.2f}%" height="12" rx="2"/>'
            f'<line class="whisker" x1="{low:.2f}%" x2="{high:.2f}%" y1="9" y2="9"/>'
            f'<line class="whisker" x1="{low:.2f}%" x2="{low:.2f}%" y1="5" y2="13"/>'
            f'<line class="whisker" x1="{high:.2f}%" x2="{high:.2f}%" y1="5" y2="13"/></svg>'
            f'<div class="value">{number(figure["median"])}</div>')
    return "".join(parts) + "</div>"


class _LogAxes:
    def __init__(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        self.x0, self.x1 = _decades(xs)
        self.y0, self.y1 = _decades(ys, fine=True)

    def x(self, value: float) -> float:
        share = (math.log10(value) - self.x0) / (self.x1 - self.x0)
        return LEFT + share * (CARD_WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        share = (math.log10(value) - self.y0) / (self.y1 - self.y0)
        return CARD_HEIGHT - BOTTOM - share * (CARD_HEIGHT - TOP - BOTTOM)


def _decades(values: Sequence[float], fine: bool = False) -> tuple[float, float]:
    """The range of a log axis; a fine one may end at a half decade, and shows one decade at least."""
    step = 2 if fine else 1
    low = math.floor(math.log10(min(values)) * step) / step
    high = math.ceil(math.log10(max(values)) * step) / step
    if high - low < 1:
        high = low + 1
    return low, high


def _grid(axes: _LogAxes, x_ticks: Sequence[tuple[float, str]], y_unit: str, x_name: str) -> list[str]:
    parts = []
    steps = (1, 2, 5) if axes.y1 - axes.y0 <= 2 else (1,)
    values = [step * 10.0**power for power in range(math.floor(axes.y0), math.ceil(axes.y1) + 1) for step in steps]
    for value in (v for v in values if axes.y0 - 1e-9 <= math.log10(v) <= axes.y1 + 1e-9):
        y = axes.y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{CARD_WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
                     f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{short(value)}</text>')
    for value, label in x_ticks:
        x = axes.x(value)
        foot = CARD_HEIGHT - BOTTOM
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{foot}"/>'
                     f'<text class="tick" x="{x:.1f}" y="{foot + 16}" text-anchor="middle">{label}</text>')
    parts.append(f'<text class="tick" x="{LEFT}" y="{TOP - 3}">{escape(y_unit)}</text>'
                 f'<text class="tick" x="{CARD_WIDTH - RIGHT}" y="{CARD_HEIGHT - 6}" text-anchor="end">'
                 f"{escape(x_name)}</text>")
    return parts


def short(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _line(axes: _LogAxes, points: Sequence[tuple[float, float]], kind: str, title: str, dots: bool) -> str:
    path = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in points)
    marks = "".join(f'<circle class="point {kind}" cx="{axes.x(x):.1f}" cy="{axes.y(y):.1f}" r="3.5">'
                    f"<title>{escape(title)}: {short(x)}: {number(y)}</title></circle>"
                    for x, y in points) if dots else ""
    return f'<g><title>{escape(title)}</title><polyline class="line {kind}" points="{path}"/>{marks}</g>'


def kinds_of(curves: Sequence[dict[str, Any]]) -> list[str]:
    """Ours in the colours of lines, raw dashed, peers thin and dotted: to be told apart without colour too."""
    return [f"c{i % LINES} {c['who']}" for i, c in enumerate(curves)]


def latency(curves: Sequence[dict[str, Any]]) -> str:
    """Latency against how rare it is: both logarithmic, so that the tail has room."""
    drawn = []
    for curve in curves:
        points = [(1 / (1 - q), ns / 1e3) for q, ns in curve["percentiles"] if 0 <= q < 1 and ns > 0]
        drawn.append([p for p in points if p[0] <= 1e5])
    everything = [p for points in drawn for p in points]
    if not everything:
        return ""
    axes = _LogAxes([p[0] for p in everything] + [1.0], [p[1] for p in everything])
    ticks = [(1 / (1 - q), label) for q, label in
             ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99"))
             if math.log10(1 / (1 - q)) <= axes.x1 + 1e-9]
    parts = [f'<svg class="chart" viewBox="0 0 {CARD_WIDTH} {CARD_HEIGHT}" role="img">',
             *_grid(axes, ticks, "µs", "share of requests that are faster")]
    parts += [_line(axes, points, kind, curve["label"], False)
              for curve, points, kind in zip(curves, drawn, kinds_of(curves)) if points]
    return "".join(parts) + "</svg>"


def growth(entry: dict[str, Any]) -> str:
    """Cost of one against how many there are."""
    points = [(p["n"], p["median"]) for p in entry["points"] if p["n"] > 0 and p["median"] > 0]
    if len(points) < 2:
        return ""
    axes = _LogAxes([p[0] for p in points], [p[1] for p in points])
    ticks = [(10.0**i, short(10.0**i)) for i in range(round(axes.x0), round(axes.x1) + 1)]
    parts = [f'<svg class="chart" viewBox="0 0 {CARD_WIDTH} {CARD_HEIGHT}" role="img">',
             *_grid(axes, ticks, entry["unit"], "how many")]
    parts += [f'<line class="whisker" x1="{axes.x(p["n"]):.1f}" x2="{axes.x(p["n"]):.1f}" y1="{axes.y(p["low"]):.1f}" '
              f'y2="{axes.y(p["high"]):.1f}"/>' for p in entry["points"] if p["n"] > 0 and p["low"] > 0]
    return "".join(parts) + _line(axes, points, "c0 ours", entry["subject"], True) + "</svg>"
