"""From rows to runs: what is judged, what it is held against, and what is measured beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from .goals import Baseline, Row, judged_cells
from .programs import MissingError, Programs
from .running import Run


@dataclass
class Judged:
    """A row in one cell: a line of the table."""

    row: Row
    backend: str = ""
    sched: str = ""
    subject: Optional[Run] = None
    baselines: list[tuple[Baseline, Optional[Run]]] = field(default_factory=list)  # that there are, in order
    peers: dict[str, Run] = field(default_factory=dict)
    beside: list[Run] = field(default_factory=list)  # other cells, other settings
    skipped: str = ""
    missing: str = ""  # nothing to hold it against: measured all the same

    @property
    def runs(self) -> list[Run]:
        if self.subject is None:
            return []
        held = [run for _, run in self.baselines if run is not None]
        return [self.subject, *held, *self.peers.values(), *self.beside]

    @property
    def id(self) -> str:
        return f"{self.row.id}@{self.backend}/{self.sched}" if self.backend else self.row.id


@dataclass(frozen=True)
class Choice:
    """What the command line leaves of the cells and of the peers."""

    backends: tuple[str, ...] = ()
    scheds: tuple[str, ...] = ()
    peers: bool = True
    all_cells: bool = True


def _run(programs: Programs, row: Row, who: str, backend: str = "", sched: str = "", case: str = "", program: str = "",
         workers: int = 0, env: tuple[tuple[str, str], ...] = ()) -> Run:
    workers = workers or row.workers
    if row.kind == "micro":
        group = "micro" if who == "ours" else who
        path = programs.case(group, case or row.case)
        return Run(who, "micro", str(path), case=case or row.case, workers=workers, backend=backend, sched=sched,
                   env=env)
    name = program or row.program
    if who == "raw":
        name = f"raw/{name or 'echo_epoll'}"
    elif who == "ours":
        name = name or "examples/echo"
    else:
        name = who
    return Run(who, row.kind, str(programs.server(name)), connections=row.connections, depth=row.depth,
               pinned=row.pinned, workers=workers, backend=backend, sched=sched, env=env)


def _add_baselines(programs: Programs, judged: Judged, choice: Choice) -> list[str]:
    """Those that are there; the sentences about those that are not."""
    missing: list[str] = []
    for base in judged.row.against:
        if base.who == "constant":
            judged.baselines.append((base, None))
            continue
        if base.who.startswith("peer") and not choice.peers:
            missing.append(f"{base.who.removeprefix('peer:')}: --no-peers")
            continue
        if base.who == "peers":
            if judged.peers:
                judged.baselines.append((base, None))
            else:
                missing.append("no peer is built that does this")
            continue
        ours = base.who == "ours"
        try:
            run = _run(programs, judged.row, base.who, judged.backend if ours else "", judged.sched if ours else "",
                       base.case, base.program, base.workers, base.env)
            judged.baselines.append((base, run))
        except MissingError as reason:
            missing.append(str(reason))
    return missing


def _add_peers(programs: Programs, judged: Judged) -> None:
    for peer in programs.peers:
        try:
            judged.peers[peer] = _run(programs, judged.row, f"peer:{peer}")
        except MissingError:
            pass  # it has nothing of the kind


def _judged(programs: Programs, row: Row, cell: tuple[str, str], choice: Choice) -> Judged:
    backend, sched = cell
    judged = Judged(row, backend, sched)
    if choice.peers and row.peers:
        _add_peers(programs, judged)
    missing = _add_baselines(programs, judged, choice)
    try:
        judged.subject = _run(programs, row, "ours", backend, sched, env=row.env)
        for _, env in row.also:
            judged.beside.append(_run(programs, row, "ours", backend, sched, env=env))
    except MissingError as reason:
        judged.skipped = str(reason)
    if not judged.baselines and not judged.skipped:
        judged.missing = "; ".join(dict.fromkeys(missing))
    return judged


def _add_other_cells(programs: Programs, rows: list[Judged], backends: list[str], scheds: list[str]) -> None:
    """Every cell is measured once beside the first line of its row that runs: to compare, without a verdict."""
    seen: set[str] = set()
    for judged in rows:
        if judged.subject is None or judged.row.id in seen:
            continue
        seen.add(judged.row.id)
        of_row = {j.subject for j in rows if j.row.id == judged.row.id}
        for backend in backends:
            for sched in scheds:
                run = _run(programs, judged.row, "ours", backend, sched, env=judged.row.env)
                if run not in of_row:
                    judged.beside.append(run)


def make(programs: Programs, rows: list[Row], choice: Choice) -> list[Judged]:
    backends = [b for b in programs.backends if not choice.backends or b in choice.backends]
    scheds = [s for s in programs.scheds if not choice.scheds or s in choice.scheds]
    made: list[Judged] = []
    for row in rows:
        cells = judged_cells(row, backends, scheds)
        if not cells:
            wanted = ", ".join(row.cells)
            made.append(Judged(row, skipped=f"no cell like {wanted} can run here or was chosen"))
        made += [_judged(programs, row, cell, choice) for cell in cells]
    if choice.all_cells:
        _add_other_cells(programs, made, backends, scheds)
    return made


def often(rows: list[Judged]) -> set[Run]:
    """What verdicts rest on, for every round. The rest is to look at, and tells of a raw program behind a peer."""
    found: set[Run] = set()
    for judged in rows:
        if judged.subject is None or not judged.row.judged:
            continue
        found.add(judged.subject)
        for base, run in judged.baselines[:1]:
            found.update([run] if run else judged.peers.values() if base.who == "peers" else [])
    return found


def all_runs(rows: list[Judged]) -> list[Run]:
    """Each once, however many rows look at it."""
    return list(dict.fromkeys(run for judged in rows if not judged.skipped for run in judged.runs))
