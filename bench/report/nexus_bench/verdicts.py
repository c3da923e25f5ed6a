"""
The rule of verdicts.

A row is met when the whole 95 % interval of its paired ratio is on the good side of the goal, missed when all of it is
on the bad side, else within noise. A difference under 3 % is more than a machine's clock can tell: a row that says so
is then judged by user-space instructions a request instead, which callgrind counts the same each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from .figures import Estimate

MET, MISSED, NOISE = "met", "missed", "within noise"
UNJUDGED, SKIPPED, FAILED = "not judged", "skipped", "failed"

LEAST_ROUNDS = 15  # for a verdict; fewer are a look
FINE = 0.03
INSTRUCTIONS_OVER_RAW = 400.0
BASELINE_BEHIND_PEER = 0.02


@dataclass(frozen=True)
class Verdict:
    word: str
    reason: str = ""


def by_interval(ratio: Estimate, goal: float, better: str) -> Verdict:
    """better: "less" (the ratio should be at most the goal) or "more"."""
    if better == "more":
        good, bad = ratio.low >= goal, ratio.high < goal
    else:
        good, bad = ratio.high <= goal, ratio.low > goal
    return Verdict(MET if good else MISSED if bad else NOISE)


def judge(ratio: Estimate, goal: float, better: str, fine: bool = False,
          instructions: Optional[tuple[float, float]] = None, why_none: str = "") -> Verdict:
    """instructions: a request's in user space, of the subject and of the raw server."""
    verdict = by_interval(ratio, goal, better)
    if not fine or verdict.word == MET or abs(ratio.median - 1) >= FINE:
        return verdict
    if instructions is None:
        return Verdict(verdict.word, f"under 3 %, and no instruction counts: {why_none or 'not measured'}")
    ours, raw = instructions
    word = MET if ours <= raw + INSTRUCTIONS_OVER_RAW else MISSED
    return Verdict(word, f"by instructions: {ours:.0f} a request, raw {raw:.0f} + {INSTRUCTIONS_OVER_RAW:.0f}")


def baseline_warning(name: str, peer: str, behind: Estimate) -> str:
    """
    A raw limit that a peer beats is no limit. behind: how far, as a ratio above 1; it must be sure, so the whole of an
    exact interval counts, and a few rounds say nothing. Empty if the limit counts.
    """
    if not behind.exact or behind.low <= 1 + BASELINE_BEHIND_PEER:
        return ""
    return (f"{name} is {(behind.median - 1) * 100:.1f} % behind {peer}, {(behind.low - 1) * 100:.1f} % at least: not "
            "a limit that counts (2 % may be missing)")


def growth_verdict(exponent: Estimate, limit: float) -> Verdict:
    return by_interval(exponent, limit, "less")
