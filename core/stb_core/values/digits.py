"""How scores, intervals and p-values are written: by one rule in the terminal, in reports and on pages."""

from __future__ import annotations

import math

_LEAST_P = 0.0001
_SCORE_DECIMALS = 1
_SIGNIFICANT = 3
_MOST_DECIMALS = 6


def score_text(value: float | None, *, signed: bool = False) -> str:
    """A rate in percent, or a difference of rates, with one decimal; ``?`` if there is none."""
    return "?" if value is None else _fixed(value, _SCORE_DECIMALS, signed=signed)


def interval_text(low: float | None, high: float | None, *, signed: bool = False) -> str:
    """The interval of such a number, as ``[99.7, 100.0]``; empty if there is none."""
    if low is None or high is None:
        return ""
    return f"[{score_text(low, signed=signed)}, {score_text(high, signed=signed)}]"


def score_with_interval(
    value: float | None, low: float | None, high: float | None, *, signed: bool = False
) -> str:
    """Both, as ``100.0 [99.7, 100.0]``."""
    return f"{score_text(value, signed=signed)} {interval_text(low, high, signed=signed)}".rstrip()


def measure_text(value: float | None, low: float | None, high: float | None, unit: str) -> str:
    """A measure with its interval, all with the same number of decimals; empty if there is no value.

    Shares have one decimal. Of other units the largest number has three significant digits, or more if it is
    1,000 or greater.
    """
    if value is None:
        return ""
    if unit == "%":
        return score_with_interval(value, low, high)
    largest = max(abs(one) for one in (value, low, high) if one is not None)
    decimals = _SIGNIFICANT - 1 - math.floor(math.log10(largest)) if largest else 0
    decimals = min(max(decimals, 0), _MOST_DECIMALS)
    ends = "" if low is None or high is None else f" [{low:,.{decimals}f}, {high:,.{decimals}f}]"
    return f"{value:,.{decimals}f}{ends}"


def p_text(p: float | None) -> str:
    """A p-value with two significant digits, ``<0.0001`` below that, and empty if there is none."""
    if p is None:
        return ""
    if p < _LEAST_P:
        return f"<{_LEAST_P:.4f}"
    decimals = 1 - math.floor(math.log10(p))
    # 0.0996 becomes 0.10, not 0.100.
    return f"{p:.{1 - math.floor(math.log10(round(p, decimals)))}f}"


def _fixed(value: float, decimals: int, *, signed: bool) -> str:
    """Without a minus sign before zeros."""
    text = f"{value:+.{decimals}f}" if signed else f"{value:.{decimals}f}"
    return text.replace("-", "+" if signed else "") if float(text) == 0 else text
