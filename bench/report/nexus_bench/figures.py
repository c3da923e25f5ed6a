"""What a number of rounds says: medians, spreads, paired ratios with an exact interval, fitted exponents."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Optional, Sequence

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """A sample's median and quartiles."""

    median: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Estimate:
    """A median with its interval; exact: the interval covers the true median with CONFIDENCE at least."""

    median: float
    low: float
    high: float
    count: int
    exact: bool


def summary(sample: Sequence[float]) -> Summary:
    if len(sample) < 2:
        return Summary(sample[0], sample[0], sample[0], len(sample))
    low, median, high = statistics.quantiles(sample, n=4, method="inclusive")
    return Summary(median, low, high, len(sample))


def median_rank(count: int, confidence: float = CONFIDENCE) -> Optional[int]:
    """
    The largest k such that the k-th smallest and the k-th largest of count samples enclose the median with that
    confidence. How many samples lie below the median is binomial (count, 1/2), whatever the distribution, so the
    interval is exact; below six samples there is none.
    """
    rank = None
    below = 0  # ways in which fewer than k samples lie below the median
    for k in range(1, count // 2 + 1):
        below += math.comb(count, k - 1)
        if 2 * below > (1 - confidence) * 2**count:
            break
        rank = k
    return rank


def estimate(sample: Sequence[float]) -> Estimate:
    """The median and its interval; with too few samples the interval is all that was seen."""
    ordered = sorted(sample)
    rank = median_rank(len(ordered))
    k = rank or 1
    return Estimate(statistics.median(ordered), ordered[k - 1], ordered[-k], len(ordered), rank is not None)


def paired(subject: Sequence[Optional[float]], baseline: Sequence[Optional[float]], minus: bool) -> list[float]:
    """A ratio, or a difference, for each round that has both."""
    both = [(s, b) for s, b in zip(subject, baseline) if s is not None and b is not None]
    if minus:
        return [s - b for s, b in both]
    return [s / b for s, b in both if b > 0]


def exponent(points: Sequence[tuple[float, float]]) -> Optional[float]:
    """The slope of the least-squares line through log value over log n: cost ~ n ** slope."""
    logs = [(math.log(n), math.log(value)) for n, value in points if n > 0 and value > 0]
    if len({x for x, _ in logs}) < 2:
        return None
    return statistics.linear_regression([x for x, _ in logs], [y for _, y in logs]).slope
