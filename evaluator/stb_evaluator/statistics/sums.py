"""Sums of floats with the same bits under every Python; those of ``sum`` differ from 3.12 on."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from functools import reduce


def sum_in_order(values: Iterable[float]) -> float:
    """The sum, rounded after each addition; 0 of nothing."""
    return reduce(operator.add, values, 0.0)
