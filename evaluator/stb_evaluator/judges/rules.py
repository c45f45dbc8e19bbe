"""A judge without a model: does the answer contain data that the agent's own calls returned?

It is for demonstrations and tests. It does not understand the text, so its scores are comparable only
with its own, and are labelled so wherever they appear.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

from stb_core.errors import FormatError
from stb_core.values import FINISH, Judgement, Status, Step, Trajectory, parse_literal
from stb_evaluator.judges.judge import Case

_NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w])")
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][\w'-]{3,}")
_WHOLE_VALUE = 80
_MIN_TEXT = 3
# An answer longer than everything that the agent saw is noise, whatever it contains.
_MAX_ANSWER = 4_000


class RulesJudge:
    """Solved if the answer contains data from every relevant API; unsure if from some."""

    name = "rules"
    rubric = "rules-1"
    reusable = False

    async def judge(self, case: Case, number: int) -> Judgement:  # noqa: ARG002 - every round is alike
        """The verdict; the same in every round."""
        if case.query is None:  # without the query it is unknown which APIs were needed
            return Judgement(
                Status.ERROR,
                "the query is not in this store: import its dataset, or a bundle that has it",
            )
        return judge_by_rules(case)


def judge_by_rules(case: Case) -> Judgement:
    """The verdict, as a pure function of the trajectory and the query's relevant APIs."""
    trajectory = case.trajectory
    seen = sum(len(step.observation) for step in trajectory.steps)
    if len(trajectory.final_answer) > max(_MAX_ANSWER, seen):
        return Judgement(Status.UNSOLVED, "the answer is longer than all that the agent saw")
    used = _used_sources(trajectory)
    needed = [_source_name(ref.tool, ref.api) for ref in case.query.relevant_apis] if case.query else []
    needed = needed or list(used)
    carried = [name for name in needed if used.get(name)]
    if not carried:
        return Judgement(Status.UNSOLVED, "the answer carries no data of a successful call")
    if len(carried) < len(needed):
        lacking = ", ".join(name for name in needed if name not in carried)
        return Judgement(Status.UNSURE, f"the answer carries no data from: {lacking}")
    return Judgement(Status.SOLVED, f"the answer carries data from: {', '.join(carried)}")


def _source_name(tool: str, api: str) -> str:
    return f"{tool}/{api}"


def _used_sources(trajectory: Trajectory) -> dict[str, bool]:
    """Each API that was called with success, and whether the answer carries something it returned."""
    answer = _normal(trajectory.final_answer)
    calls = [step for step in trajectory.steps if step.function != FINISH]
    known = _normal(" ".join([trajectory.query, *(step.arguments for step in calls)]))
    used: dict[str, bool] = {}
    for step in calls:
        if step.error or step.hallucinated or not step.observation.strip():
            continue
        source = _source_name(step.tool, step.api) if step.tool and step.api else step.function
        used[source] = used.get(source, False) or any(
            _contains(answer, value) and not _contains(known, value) for value in _values(step)
        )
    return used


def _values(step: Step) -> Iterator[str]:
    """Concrete data in an observation: numbers and short texts; of long texts their numbers and names."""
    body = _decode(step.observation)
    if isinstance(body, dict) and "response" in body:
        body = body["response"]
    for leaf in _leaves(_decode(body) if isinstance(body, str) else body):
        if isinstance(leaf, bool) or leaf is None:
            continue
        text = _normal(str(leaf))
        if len(text) <= _WHOLE_VALUE:
            if len(text) >= _MIN_TEXT or (text.isdigit() and len(text) > 1):
                yield text
        else:
            yield from (_normal(found) for found in _NUMBER.findall(str(leaf)) if len(found) > 1)
            yield from (_normal(found) for found in _NAME.findall(str(leaf)))


def _decode(text: Any) -> Any:
    """JSON or Python's notation as a value; other text as it is."""
    if not isinstance(text, str) or not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return parse_literal(text.strip())
    except FormatError:
        return text


def _leaves(value: Any) -> Iterator[Any]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, list | tuple | set):
            waiting += item
        else:
            yield item


def _normal(text: str) -> str:
    """Lower case, single spaces, no separators within numbers."""
    return re.sub(r"(?<=\d),(?=\d{3})", "", " ".join(text.split())).lower()


def _contains(text: str, value: str) -> bool:
    """Whether a value stands in a text as a whole: ``12`` is not in ``2012``."""
    start = text.find(value)
    while start >= 0:
        end = start + len(value)
        before = text[start - 1] if start else " "
        after = text[end] if end < len(text) else " "
        if not (before.isalnum() and value[0].isalnum()) and not (after.isalnum() and value[-1].isalnum()):
            return True
        start = text.find(value, start + 1)
    return False
