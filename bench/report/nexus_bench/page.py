"""One HTML page that needs nothing else: light and dark, at first glance where we are ahead and where behind."""

from __future__ import annotations

from html import escape
from typing import Any

from . import charts, text
from .style import STYLE

WHO_ORDER = {"ours": 0, "raw": 1, "peer": 2}


ORDER = ("met", "within noise", "missed", "failed", "not judged", "skipped")


def _badge(verdict: str) -> str:
    return f'<span class="badge {charts.slug(verdict)}">{charts.MARKS[verdict]} {escape(verdict)}</span>'


def _tiles(report: dict[str, Any]) -> str:
    found = text.counts(report)
    tiles = [f'<div class="tile {charts.slug(word)}"><b>{found[word]}</b>'
             f"<span>{charts.MARKS[word]} {escape(word)}</span></div>" for word in ORDER if word in found]
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _head(report: dict[str, Any]) -> str:
    m = report["machine"]
    virtual = ", virtual" if m["hypervisor"] == "yes" else ""
    look = '<p class="look">A look, not a proof: fewer than 15 rounds.</p>' if report["look"] else ""
    facts = (f"{m['cpus']} CPUs of {m['processor']}{virtual}, {m['memory']} · Linux {m['kernel']}, "
             f"governor {m['governor']} · {m['compiler']}, {m['flags']} · {m['version']}, commit {m['commit']} · "
             f"{m['date']}")
    peers = f"Peers: {', '.join(report['peers'])}." if report["peers"] else "No peers were built."
    return (f'<header><h1>libnexus against its limits</h1><p class="facts">{escape(facts)}</p>'
            f'<p class="facts">Shuffled rounds: {report["rounds"]}; what no verdict rests on, in two of five. '
            f"{escape(peers)}</p>"
            f"{look}{_tiles(report)}</header>")


def _glance(report: dict[str, Any]) -> str:
    """Every row on one scale: how far from its goal."""
    parts = ['<section><h2>Ahead and behind</h2><p class="hint">Each row against its own goal, the line in the middle: '
             "left is better than it, right is worse; the strip ends at half and at twice the goal. The bar is the "
             '95 % interval.</p><div class="glance"><div class="row"><div class="ends"><span>← ahead</span>'
             "<span>goal</span><span>behind →</span></div></div>"]
    area = ""
    for row in report["rows"]:
        if not row["ratio"]:
            continue
        if row["area"] != area:
            area = row["area"]
            parts.append(f'<h3>{escape(area)}</h3>')
        cell = f' <small>{escape(row["cell"])}</small>' if row["cell"] else ""
        sign = "≤" if row["better"] == "less" else "≥"
        ratio = f'{row["ratio"]["median"]:.3g} <small>{sign} {row["goal"]:.3g}</small>'
        parts.append(f'<div class="row"><div class="what">{escape(row["title"])}{cell}</div><div class="says">'
                     f'<span>{ratio}</span>{_badge(row["verdict"])}</div>{charts.strip(row)}</div>')
    return "".join(parts) + "</div></section>"


def _bars(report: dict[str, Any]) -> str:
    """A card per row of goals.json: all its cells together."""
    merged: dict[str, dict[str, Any]] = {}
    for row in report["rows"]:
        card = merged.setdefault(row["row"], {**{k: row[k] for k in ("title", "unit", "better")}, "bars": {}})
        for bar in row["bars"]:
            card["bars"].setdefault(bar["label"], bar)
    parts = ['<section><h2>What it costs</h2><p class="hint"><span class="key ours"></span> libnexus '
             '<span class="key raw"></span> raw limit <span class="key peer"></span> other runtimes; '
             'the whisker is the middle half of the rounds</p><div class="cards">']
    for card in merged.values():
        entries = sorted(card["bars"].values(), key=lambda b: WHO_ORDER[b["who"]])
        if len(entries) < 2:
            continue
        way = "less is better" if card["better"] == "less" else "more is better"
        parts.append(f'<div class="card"><h3>{escape(card["title"])}</h3>'
                     f'<p class="unit">{escape(card["unit"])}, {way}</p>'
                     f'{charts.bars(entries, card["unit"])}</div>')
    return "".join(parts) + "</div></section>"


def _legend(curves: list[dict[str, Any]]) -> str:
    marks = [f'<span><svg width="26" height="10"><line class="line {kind}" x1="1" x2="25" y1="5" y2="5"/></svg>'
             f' {escape(curve["label"])}</span>' for curve, kind in zip(curves, charts.kinds_of(curves))]
    return f'<p class="legend">{"".join(marks)}</p>'


def _latencies(report: dict[str, Any]) -> str:
    by_shape: dict[str, list[dict[str, Any]]] = {}
    for curve in report["latencies"]:
        by_shape.setdefault(curve["shape"], []).append(curve)
    cards = []
    for shape, curves in by_shape.items():
        curves.sort(key=lambda c: WHO_ORDER[c["who"]])
        drawn = charts.latency(curves)
        if drawn:
            cards.append(f'<div class="card"><h3>echo, {escape(shape)}</h3>{drawn}{_legend(curves)}</div>')
    if not cards:
        return ""
    return ('<section><h2>Latency</h2><p class="hint">How long a request takes, and how rare it is that one takes '
            f'longer; both axes logarithmic.</p><div class="cards">{"".join(cards)}</div></section>')


def _growth(report: dict[str, Any]) -> str:
    if not report["growth"]:
        return ""
    cards = []
    for one in report["growth"]:
        fit = one["exponent"]
        says = f"as n to the power of {fit['median']:+.3f}" if fit else one["reason"]
        limit = f", at most {one['limit']:g}" if one["limit"] is not None else ""
        cards.append(f'<div class="card"><h3>{escape(one["subject"])}</h3><p class="unit">{escape(one["unit"])}: '
                     f'{escape(says + limit)} {_badge(one["verdict"])}</p>{charts.growth(one)}'
                     f'<p class="hint">{escape(one["note"] or one["why"])}</p></div>')
    return ('<section><h2>Growth</h2><p class="hint">What one costs among n. Flat is what there should be.</p>'
            f'<div class="cards">{"".join(cards)}</div></section>')


def _table(report: dict[str, Any]) -> str:
    parts = ['<section><h2>Every row</h2><div class="scroll"><table><thead><tr>'
             + "".join(f"<th>{escape(head)}</th>" for head in ("area",) + text.HEAD) + "</tr></thead><tbody>"]
    for row in report["rows"]:
        title, goal, figure, against, ratio, _ = text.cells_of(row)
        notes = [note for note in (row["reason"], *row["warnings"]) if note]
        more = "".join(f'<div class="note">{escape(note)}</div>' for note in notes)
        elsewhere = f' title="the table: {escape(row["table"])}"' if row["table"] else ""
        parts.append(f'<tr><td>{escape(row["area"])}</td><td{elsewhere}>{escape(title)}{more}</td>'
                     + "".join(f'<td class="n">{escape(cell)}</td>' for cell in (goal, figure, against, ratio))
                     + f'<td>{_badge(row["verdict"])}</td></tr>')
    return "".join(parts) + "</tbody></table></div></section>"


def _foot(report: dict[str, Any]) -> str:
    troubles = [f"{f['run']}: {f['why']}" for f in report["failures"]] + report["problems"]
    listed = "".join(f"<li>{escape(line)}</li>" for line in troubles)
    return ((f"<section><h2>What did not run</h2><ul>{listed}</ul></section>" if listed else "")
            + f'<footer>nexus bench, seed {report["seed"]}, {report["window_seconds"]:g} s of load in an echo run. '
            "Met: the whole interval keeps the goal; missed: none of it does; between them it is within noise. Echo "
            "rows that differ by less than 3 % are judged by instructions in user space: raw + 400 a request.</footer>")


def html(report: dict[str, Any]) -> str:
    body = "".join(part(report) for part in (_head, _glance, _bars, _latencies, _growth, _table, _foot))
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
            '<meta name="viewport" content="width=device-width, initial-scale=1"/><title>nexus bench</title>'
            f"<style>{STYLE}</style></head><body><main>{body}</main></body></html>\n")
