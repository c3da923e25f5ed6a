"""Rows and goals: bench/goals.json read, checked, and made into what is to be run."""

from __future__ import annotations

import fnmatch
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterable, Optional

KINDS = {
    "micro": {"case", "program"},
    "echo": {"connections", "depth", "pinned", "program"},
    "share": {"connections", "depth", "pinned", "program"},
    "idle": {"program"},
    "paced": {"connections", "depth", "pinned", "program"},
    "instructions": {"program"},
}
ROW_KEYS = {"id", "area", "title", "table", "kind", "metric", "unit", "better", "compare", "cells", "workers", "env",
            "against", "also", "fine", "note", "peers", "judged"} | set().union(*KINDS.values())
ROW_NEEDS = {"id", "area", "title", "table", "kind", "metric", "unit", "better", "against"}
BASELINE_KEYS = {"who", "goal", "table", "case", "program", "workers", "env", "name", "value"}


class GoalsError(Exception):
    """goals.json does not say what it should; the text says where."""


@dataclass(frozen=True)
class Baseline:
    """What a row is held against: who is "raw", "ours", "peers" (the best one), "peer:NAME" or "constant"."""

    who: str
    goal: float
    table: str = ""
    case: str = ""
    program: str = ""
    workers: int = 0
    env: tuple[tuple[str, str], ...] = ()
    name: str = ""
    value: float = 0.0


@dataclass(frozen=True)
class Row:
    id: str
    area: str
    title: str
    table: str
    kind: str
    metric: str
    unit: str
    better: str
    against: tuple[Baseline, ...]
    compare: str = "ratio"
    cells: tuple[str, ...] = ("any/local",)
    workers: int = 1
    env: tuple[tuple[str, str], ...] = ()
    also: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    fine: bool = False
    note: str = ""
    peers: bool = True
    judged: bool = True
    case: str = ""
    program: str = ""
    connections: int = 0
    depth: int = 1
    pinned: bool = True


@dataclass(frozen=True)
class Growth:
    """How fast the cost of one of n may grow: at most as n ** limit, from n = start on."""

    subject: str
    limit: float
    start: float
    why: str


@dataclass(frozen=True)
class Goals:
    rows: tuple[Row, ...]
    growth: tuple[Growth, ...] = field(default=())


def _env(value: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((str(k), str(v)) for k, v in value.items()))


def _need(condition: bool, where: str, what: str) -> None:
    if not condition:
        raise GoalsError(f"goals: {where}: {what}")


def _baseline(entry: dict[str, Any], where: str) -> Baseline:
    unknown = set(entry) - BASELINE_KEYS
    _need(not unknown, where, f"unknown: {', '.join(sorted(unknown))}")
    who = entry.get("who", "")
    _need(who in ("raw", "ours", "peers", "constant") or who.startswith("peer:"), where, f"who is '{who}'")
    _need(isinstance(entry.get("goal"), (int, float)), where, "no goal")
    _need(who != "constant" or ("name" in entry and "value" in entry), where, "a constant has a name and a value")
    return Baseline(**{**entry, "env": _env(entry.get("env", {}))})


def _row(entry: dict[str, Any]) -> Row:
    where = f"row '{entry.get('id', '?')}'"
    missing, unknown = ROW_NEEDS - set(entry), set(entry) - ROW_KEYS
    _need(not missing, where, f"missing: {', '.join(sorted(missing))}")
    _need(not unknown, where, f"unknown: {', '.join(sorted(unknown))}")
    _need(entry["kind"] in KINDS, where, f"kind is '{entry['kind']}'")
    foreign = set().union(*KINDS.values()) & set(entry) - KINDS[entry["kind"]]
    _need(not foreign, where, f"not for kind '{entry['kind']}': {', '.join(sorted(foreign))}")
    _need(entry["better"] in ("less", "more"), where, "better is 'less' or 'more'")
    _need(entry.get("compare", "ratio") in ("ratio", "minus"), where, "compare is 'ratio' or 'minus'")
    _need(bool(entry["against"]), where, "held against nothing")
    _need(entry["kind"] != "micro" or bool(entry.get("case")), where, "a micro row names its case")
    made = dict(entry)
    made["against"] = tuple(_baseline(b, where) for b in entry["against"])
    made["env"] = _env(entry.get("env", {}))
    made["also"] = tuple((label, _env(env)) for label, env in entry.get("also", {}).items())
    if "cells" in entry:
        made["cells"] = tuple(entry["cells"])
    for cell in made.get("cells", ()):
        _need(cell.count("/") == 1, where, f"a cell is BACKEND/SCHEDULER, not '{cell}'")
    return Row(**made)


def read(path: Path) -> Goals:
    try:
        text = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GoalsError(f"goals: {path}: {error}") from error
    _need(text.get("version") == 1, str(path), "version is not 1")
    rows = tuple(_row(entry) for entry in text["rows"])
    seen: set[str] = set()
    for row in rows:
        _need(row.id not in seen, f"row '{row.id}'", "is there twice")
        seen.add(row.id)
    growth = tuple(Growth(g["subject"], float(g["limit"]), float(g.get("start", 1)), g["why"])
                   for g in text.get("growth", ()))
    return Goals(rows, growth)


def chosen(rows: Iterable[Row], globs: list[str], areas: list[str]) -> list[Row]:
    return [row for row in rows
            if (not globs or any(fnmatch.fnmatchcase(row.id, glob) for glob in globs))
            and (not areas or row.area in areas)]


def judged_cells(row: Row, backends: list[str], scheds: list[str]) -> list[tuple[str, str]]:
    """The cells that a row's verdict is for. "any" as backend: the first one, where the backend plays no part."""
    cells: list[tuple[str, str]] = []
    for pattern in row.cells:
        want_backend, want_sched = pattern.split("/")
        names: list[Optional[str]] = list(backends[:1]) if want_backend == "any" else list(backends)
        for backend in names:
            for sched in scheds:
                matches = want_backend == "any" or fnmatch.fnmatchcase(backend or "", want_backend)
                if matches and fnmatch.fnmatchcase(sched, want_sched) and (backend, sched) not in cells:
                    cells.append((backend or "", sched))
    return cells
