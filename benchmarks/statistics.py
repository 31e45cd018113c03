"""Medians, spreads and ratios."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Summary:
    """What several figures amount to.

    Attributes:
        spread: the middle half of the figures, as a part of the median; of fewer than four
            figures all of them.
    """

    median: float
    lowest: float
    highest: float
    spread: float
    count: int


def summary(figures: Iterable[float]) -> Summary:
    """Median and spread of at least one figure."""
    ranked = sorted(figures)
    median = statistics.median(ranked)
    if len(ranked) < 4:
        width = ranked[-1] - ranked[0]
    else:
        low, _, high = statistics.quantiles(ranked, n=4, method="inclusive")
        width = high - low
    return Summary(median, ranked[0], ranked[-1], width / median if median else 0.0, len(ranked))


def ratio(reference: Mapping[int, float], own: Mapping[int, float]) -> float | None:
    """How many times less than the reference, the median over the rounds that both have.

    Two figures of one round were taken within seconds, so that what else the machine did
    has changed both.
    """
    ratios = [reference[number] / own[number] for number in own if number in reference]
    return statistics.median(ratios) if ratios else None
