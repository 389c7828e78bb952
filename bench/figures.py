# SPDX-License-Identifier: MIT OR Apache-2.0
"""Medians and their uncertainty. No side effects."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


def quantile(values: Sequence[float], part: float) -> float:
    ordered = sorted(values)
    at = part * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """An interval that has the true median in it in 95 of 100 cases, whatever the distribution is."""
    ordered = sorted(values)
    half = 0.98 * math.sqrt(len(ordered))
    middle = (len(ordered) - 1) / 2
    low = max(0, math.floor(middle - half))
    high = min(len(ordered) - 1, math.ceil(middle + half))
    return ordered[low], ordered[high]


@dataclass(frozen=True)
class Spread:
    """A median with the range of the middle 80 %."""

    median: float
    p10: float
    p90: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), quantile(values, 0.1), quantile(values, 0.9))


@dataclass(frozen=True)
class Ratio:
    """Ours / reference, round by round: both of a round were measured within milliseconds of each other."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, ours: Sequence[float], reference: Sequence[float]) -> Ratio:
        ratios = [mine / other for mine, other in zip(ours, reference, strict=True)]
        return cls(statistics.median(ratios), *median_interval(ratios))
