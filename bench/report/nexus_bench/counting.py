"""Instructions a request, each server under callgrind once: for rows of their own, and for what lies under 3 %."""

from __future__ import annotations

from typing import Union

from . import profile
from .programs import Programs
from .running import Result, Run, SkipError


class Counted:
    def __init__(self, found: Programs, wanted: bool) -> None:
        self._programs, self._wanted = found, wanted
        self._known: dict[Run, Union[float, str]] = {}

    def __call__(self, run: Run) -> Union[float, str]:
        """The figure, or why there is none."""
        if not self._wanted:
            return "--no-instructions"
        key = Run(run.who, "echo", run.program, backend=run.backend, sched=run.sched)
        if key not in self._known:
            self._known[key] = self._count(key)
        return self._known[key]

    def result(self, run: Run) -> Result:
        count = self(run)
        if isinstance(count, str):
            raise SkipError(count)
        return Result({"instructions": count})

    def _count(self, run: Run) -> Union[float, str]:
        ours = run.who == "ours"
        env = self._programs.environment(run.backend, run.sched, 1 if ours else 0,
                                         (("NEXUS_SPIN", "0"),) if ours else ())
        try:
            return profile.instructions([run.program, "127.0.0.1:0"] + ([] if ours else ["1"]), env)
        except profile.ProfileError as reason:
            return str(reason)
