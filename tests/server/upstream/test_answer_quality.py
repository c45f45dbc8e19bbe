"""What speaks against an answer is its structure, and never a digit or a word in its data."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stb_server.upstream.answer_quality import Rule, assess

CASES = Path(__file__).parent / "answer_quality_cases"


def cases(name: str) -> list[Any]:
    lines = (CASES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    return [pytest.param(case, id=case["note"]) for case in found]


def judged(case: dict[str, Any]) -> Any:
    response = case["response"] * case["repeat"] if "repeat" in case else case["response"]
    return assess(
        response,
        error=case.get("error", ""),
        status=case.get("status"),
        promises_json=case.get("promises_json", False),
    )


@pytest.mark.parametrize("case", cases("kept"))
def test_a_real_answer_is_kept(case: dict[str, Any]) -> None:
    """Bodies that hold statuses, errors and refusals as data are kept: no false rejection."""
    assert case.get("rule", Rule.DATA) == judged(case).rule


@pytest.mark.parametrize("case", cases("declined"))
def test_a_failure_is_declined_by_the_rule_that_fits(case: dict[str, Any]) -> None:
    """Failures are declined, and the verdict names the rule and what was seen."""
    verdict = judged(case)

    assert (False, case["rule"]) == (verdict.usable, verdict.rule)
    assert verdict.evidence


def labelled() -> list[dict[str, Any]]:
    """Bodies with a label: whether it is an answer, or a failure that passes."""
    lines = (CASES / "labelled.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def kept_aside(case: dict[str, Any]) -> bool:
    """Whether a body of the first set was not looked at while the rules were written."""
    return hashlib.sha256(json.dumps(case["response"], sort_keys=True).encode()).digest()[0] % 2 == 1


def shares(cases: list[dict[str, Any]], status: int | None) -> tuple[float, list[Any]]:
    """The share of failures that are declined, and the answers that are."""
    failures = [case["response"] for case in cases if not case["answer"]]
    answers = [case["response"] for case in cases if case["answer"]]
    declined = sum(not assess(body, status=status).usable for body in failures)
    return declined / len(failures), [body for body in answers if not assess(body, status=status).usable]


@pytest.mark.parametrize("status", [None, 200])
def test_failures_that_pass_are_declined_and_answers_are_not(status: int | None) -> None:
    """Of 653 labelled bodies, nearly all failures are declined, whether the HTTP status is known or not; all answers are kept.

    The first set was split by hash, and the rules were written against one half; the other gave 100 % on the first
    look. Each later set was written when the rules stood, in the words of other services; on the first look they gave
    27, 78, 38 and 62 %, and no answer was declined but three of the second set. Then the rules were widened.
    """
    cases = labelled()
    first = [case for case in cases if case["set"] == 1 and kept_aside(case)]

    caught_first, lost_first = shares(first, status)
    caught, lost = shares(cases, status)

    assert (653, 165) == (len(cases), len(first))
    assert ([], []) == (lost_first, lost)
    assert min(caught_first, caught) >= 0.95


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
alarming = st.sampled_from(
    [
        "500",
        404,
        503,
        "error",
        "parameter",
        "blocked",
        "Too many requests",
        "http://x",
        "Not Found",
        {"code": 500},
    ]
)


@given(
    st.dictionaries(st.sampled_from(["name", "results", "price", "text"]), alarming | json_values, min_size=1)
)
def test_nothing_inside_data_is_looked_at(body: dict[str, Any]) -> None:
    """An object with members that hold data is kept, whatever they hold."""
    body["id"] = 500

    assert assess(body).rule is Rule.DATA
    assert assess(json.dumps(body)).rule is Rule.DATA
    assert assess(str(body)).rule is Rule.DATA


@given(st.text() | json_values, st.text() | json_values, st.none() | st.integers(100, 599), st.booleans())
def test_any_answer_gets_a_verdict(response: Any, error: Any, status: int | None, promises: bool) -> None:
    """No body, however odd, makes the judgement fail, and its evidence stays one short line."""
    verdict = assess(response, error=error, status=status, promises_json=promises)

    assert len(verdict.evidence) <= 120
    assert "\n" not in verdict.evidence


def test_a_deeply_nested_text_is_judged_as_text() -> None:
    """A text that would exhaust a parser is data like any other."""
    assert assess("[" * 2_000).rule is Rule.DATA
    assert assess("{'a':" * 500).rule is Rule.DATA


def test_the_real_release_is_judged_as_it_was_by_hand(real_data: Path) -> None:
    """All answers that the rules decline were looked at one by one: each is a failure."""
    found: Counter[str] = Counter()
    for file in sorted(real_data.glob("release/tool_response_cache/*/*/*.json")):
        for answer in json.loads(file.read_text(encoding="utf-8")).values():
            found[assess(answer["response"], error=answer["error"]).rule] += 1

    assert {
        "data": 2006,
        "error_field": 326,
        "gateway_message": 45,
        "error_page": 36,
        "status_line": 32,
        "declared_status": 23,
        "empty": 9,
        "data_despite_label": 1,
    } == found


def test_answers_of_real_apis_are_not_rejected_for_a_label(real_data: Path) -> None:
    """Of 394 answers that came from real APIs, two carry data under a label given for a word; both are kept."""
    found: Counter[str] = Counter()
    for file in sorted(real_data.glob("mirrorapi_bench/*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(json.JSONDecodeError):  # six labels were cut at their source
                answer = json.loads(json.loads(line)["label"])
                found[assess(answer["response"], error=answer["error"]).rule] += 1

    assert {"data": 163, "error_field": 229, "data_despite_label": 2} == found
