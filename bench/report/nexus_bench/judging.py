"""From series to the report's rows: figures, ratios, verdicts, warnings. The report is plain JSON from here on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Optional, Union

from . import figures, verdicts
from .goals import Baseline
from .plan import Judged
from .rounds import REPEATS, Series
from .running import Run

Instructions = Callable[[Run], Union[float, str]]  # a figure, or why there is none


@dataclass
class _Held:
    """A baseline that has values."""

    base: Baseline
    name: str
    values: list[Optional[float]]
    run: Optional[Run] = None


@dataclass
class Context:
    series: dict[Run, Series]
    instructions: Instructions
    judged: Judged
    warnings: list[str] = field(default_factory=list)

    def values(self, run: Run) -> list[Optional[float]]:
        return self.series[run].values(self.judged.row.metric)


def _known(values: list[Optional[float]]) -> list[float]:
    return [v for v in values if v is not None]


def _figure(values: list[Optional[float]]) -> Optional[dict[str, float]]:
    known = _known(values)
    if not known:
        return None
    s = figures.summary(known)
    return {"median": s.median, "low": s.low, "high": s.high, "rounds": s.count}


def _best_peer(ctx: Context) -> Optional[tuple[str, Run, float]]:
    better = ctx.judged.row.better
    found = []
    for name, run in ctx.judged.peers.items():
        figure = _figure(ctx.values(run))
        if figure:
            found.append((name, run, figure["median"]))
        elif ctx.series[run].failure:
            ctx.warnings.append(f"{name}: {ctx.series[run].failure}")
    if not found:
        return None
    return (min if better == "less" else max)(found, key=lambda f: f[2])


def _held(ctx: Context, best: Optional[tuple[str, Run, float]]) -> Optional[_Held]:
    """The first baseline that has values."""
    for base, run in ctx.judged.baselines:
        if base.who == "constant":
            count = len(ctx.values(ctx.judged.subject)) if ctx.judged.subject else 0
            return _Held(base, base.name, [base.value] * count)
        if base.who == "peers":
            if best:
                return _Held(base, best[0], ctx.values(best[1]), best[1])
            continue
        assert run is not None
        values = ctx.values(run)
        if _known(values):
            name = {"ours": f"ours, {base.case or base.program or f'{run.workers} worker'}"}.get(base.who, run.label)
            return _Held(base, name if base.who != "raw" else f"raw {run.label}", values, run)
        one = ctx.series[run]
        if one.failure or one.skipped:
            ctx.warnings.append(f"{run.label}: {one.failure or one.skipped}")
    return None


def _instructions(ctx: Context, held: _Held) -> tuple[Optional[tuple[float, float]], str]:
    subject = ctx.judged.subject
    if subject is None or held.run is None:
        return None, "no server to hold it against"
    counts = []
    for run in (subject, held.run):
        count = ctx.instructions(run)
        if isinstance(count, str):
            return None, f"{run.label}: {count}"
        counts.append(count)
    return (counts[0], counts[1]), ""


def _judge(ctx: Context, held: _Held, entry: dict[str, Any]) -> None:
    row = ctx.judged.row
    assert ctx.judged.subject is not None
    ratios = figures.paired(ctx.values(ctx.judged.subject), held.values, row.compare == "minus")
    entry["against"] = {"name": held.name, "figure": _figure(held.values), "table": held.base.table}
    entry["goal"] = held.base.goal
    if not ratios:
        entry["verdict"], entry["reason"] = verdicts.UNJUDGED, "no round has both figures"
        return
    ratio = figures.estimate(ratios)
    verdict = verdicts.by_interval(ratio, held.base.goal, row.better)
    if row.fine and verdict.word != verdicts.MET and abs(ratio.median - 1) < verdicts.FINE:
        counts, why = _instructions(ctx, held)
        verdict = verdicts.judge(ratio, held.base.goal, row.better, True, counts, why)
        if counts:
            entry["instructions"] = {"ours": counts[0], "raw": counts[1]}
    if not row.judged:
        verdict = verdicts.Verdict(verdicts.UNJUDGED)
    entry["ratio"] = {"median": ratio.median, "low": ratio.low, "high": ratio.high, "rounds": ratio.count,
                      "exact": ratio.exact}
    look = ratio.count < verdicts.LEAST_ROUNDS and row.kind not in REPEATS
    entry["verdict"] = verdict.word
    entry["reason"] = "; ".join(p for p in (verdict.reason, f"a look: {ratio.count} rounds" if look else "") if p)


def _not_a_limit(ctx: Context, held: _Held, best: tuple[str, Run, float]) -> list[str]:
    """The warning that a peer beats the raw program, in the same rounds."""
    peer = ctx.values(best[1])
    less = ctx.judged.row.better == "less"
    behind = figures.paired(*((held.values, peer) if less else (peer, held.values)), False)
    warning = verdicts.baseline_warning(held.name, best[0], figures.estimate(behind)) if behind else ""
    return [warning] if warning else []


def _bars(ctx: Context) -> list[dict[str, Any]]:
    """All that was measured for the row, ours first: what a chart shows."""
    judged, bars = ctx.judged, []
    others = {base.who: run for base, run in reversed(judged.baselines)
              if run is not None and base.who in ("raw", "ours")}
    runs = [(r, "ours") for r in ([judged.subject] if judged.subject else []) + judged.beside]
    runs += [(run, who) for who, run in others.items()] + [(run, "peer") for run in judged.peers.values()]
    for run, who in runs:
        figure = _figure(ctx.values(run))
        if figure:
            label = run.label
            if who == "ours" and judged.subject and run.workers != judged.subject.workers:
                label += f", {run.workers} worker"
            if run.case and run.case != judged.row.case:
                label += f", {run.case}"
            bars.append({"label": f"raw {label}" if who == "raw" else label, "who": who, "figure": figure})
    return bars


def row(judged: Judged, series: dict[Run, Series], instructions: Instructions) -> dict[str, Any]:
    r = judged.row
    ctx = Context(series, instructions, judged)
    entry: dict[str, Any] = {
        "id": judged.id, "row": r.id, "area": r.area, "title": r.title, "table": r.table, "unit": r.unit,
        "better": r.better, "judged": r.judged, "compare": r.compare,
        "cell": f"{judged.backend}/{judged.sched}" if judged.backend else "",
        "note": r.note, "figure": None, "against": None, "goal": r.against[0].goal,
        "wants": r.against[0].name or r.against[0].who.removeprefix("peer:"), "ratio": None,
        "verdict": verdicts.SKIPPED, "reason": judged.skipped, "warnings": ctx.warnings, "bars": []}
    if judged.skipped or judged.subject is None:
        return entry
    one = series[judged.subject]
    if one.failure:
        entry["verdict"], entry["reason"] = verdicts.FAILED, one.failure
        return entry
    entry["figure"] = _figure(ctx.values(judged.subject))
    if entry["figure"] is None:
        entry["reason"] = one.skipped or f"it has no {r.metric}"
        return entry
    best = _best_peer(ctx)
    held = _held(ctx, best)
    if held is None:
        entry["verdict"] = verdicts.FAILED if ctx.warnings else verdicts.SKIPPED
        entry["reason"] = "; ".join(ctx.warnings) or judged.missing
    else:
        _judge(ctx, held, entry)
        if held.base.who == "raw" and best and entry["against"]["figure"]:
            ctx.warnings += _not_a_limit(ctx, held, best)
    if best:
        entry["best_peer"] = {"name": best[0], "median": best[2]}
    entry["bars"] = _bars(ctx)
    return entry


def latencies(rows: list[Judged], series: dict[Run, Series]) -> list[dict[str, Any]]:
    """A curve per run and shape: of the round whose p99 is the median one."""
    curves: dict[tuple[str, str], dict[str, Any]] = {}
    for judged in rows:
        for run in judged.runs if not judged.skipped else []:
            kept = sorted((r for r in series[run].results if r and r.percentiles), key=lambda r: r.metrics["p99_ns"])
            if run.kind in ("echo", "paced") and kept:
                deep = "" if run.depth == 1 or run.rate else f" × {run.depth} deep"
                shape = f"{run.connections} connection{'s' * (run.connections != 1)}{deep}"
                shape += "" if run.workers == 1 else f", {run.workers} workers"
                shape += f", {run.rate:.0f} requests/s in an open loop" if run.rate else ""
                label = f"raw {run.label}" if run.who == "raw" else run.label
                curves.setdefault((shape, label), {"shape": shape, "label": label, "who": run.who.split(":")[0],
                                                   "percentiles": kept[len(kept) // 2].percentiles})
    return list(curves.values())
