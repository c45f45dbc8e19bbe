"""Numbers of results look alike wherever they are shown."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stb_core.values import interval_text, measure_text, p_text, score_text, score_with_interval


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (None, ""),
        (0.0, "<0.0001"),
        (0.00009999, "<0.0001"),
        (0.0001, "0.00010"),
        (0.00152, "0.0015"),
        (0.0481, "0.048"),
        (0.0996, "0.10"),
        (0.5, "0.50"),
        (0.996, "1.0"),
        (1.0, "1.0"),
    ],
)
def test_a_p_value_has_two_significant_digits(p: float | None, text: str) -> None:
    """Below 0.0001 it says only that."""
    assert p_text(p) == text


@given(st.floats(0, 1))
def test_a_p_value_never_looks_smaller_than_a_tenth_of_itself_nor_like_0(p: float) -> None:
    """What is shown differs from the value by half of the second digit at most."""
    text = p_text(p)

    assert text == "<0.0001" if p < 0.0001 else float(text) == pytest.approx(p, rel=0.051)


def test_value_and_interval_have_equal_decimals() -> None:
    """Also where the value is a whole number."""
    assert score_with_interval(100.0, 99.7, 100.0) == "100.0 [99.7, 100.0]"
    assert score_with_interval(-3.0, -7.25, 1.0, signed=True) == "-3.0 [-7.2, +1.0]"
    assert measure_text(91.0, 88.94, 93.0, "%") == "91.0 [88.9, 93.0]"


def test_what_is_not_known_is_not_a_number() -> None:
    """A score without a value is a question mark, an interval without ends is empty."""
    assert (score_text(None), interval_text(None, None), measure_text(None, None, None, "USD")) == (
        "?",
        "",
        "",
    )
    assert score_with_interval(50.0, None, None) == "50.0"


def test_a_difference_of_nothing_has_no_minus() -> None:
    """Minus a rounding error is plus nothing."""
    assert score_text(-1e-14, signed=True) == "+0.0"
    assert score_text(-0.04) == "0.0"


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((1234.5, 1100.0, 1371.2), "1,234 [1,100, 1,371]"),
        ((3.4, 3.1, 3.75), "3.40 [3.10, 3.75]"),
        ((0.000213, 0.0002, 0.00022), "0.000213 [0.000200, 0.000220]"),
        ((0.0, 0.0, 0.0), "0 [0, 0]"),
        ((12.0, None, None), "12.0"),
    ],
)
def test_other_units_keep_three_digits(numbers: tuple[float, float, float], text: str) -> None:
    """Those of the largest of the three numbers."""
    assert measure_text(*numbers, unit="tokens") == text


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3).map(sorted), st.sampled_from(["%", "s"]))
def test_a_printed_value_lies_within_its_printed_interval(numbers: list[float], unit: str) -> None:
    """Rounding does not move it out."""
    low, value, high = numbers

    shown = [
        float(one) for one in re.findall(r"-?[\d.]+", measure_text(value, low, high, unit).replace(",", ""))
    ]

    assert shown[1] <= shown[0] <= shown[2]
