"""The answers of a run and the verdicts on them, in order: all that a score depends on. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from stb_core.store import Mark, StoredTrial
from stb_core.values import Status, Step, StopReason, TrialPlace


@dataclass(frozen=True)
class VerdictTable:
    """All that a score depends on; ``marks`` in the order in which they were logged.

    Only the first ``rounds`` rounds count; None counts all rounds. ``worded`` says of each answer whether
    the published code would take it as finished, see ``gate_by_words``. Trials in ``left_out`` have no score.
    """

    expected: Mapping[str, list[str]]
    trials: int
    answers: Mapping[TrialPlace, StoredTrial]
    marks: Mapping[tuple[str, str, int, int], Mark]
    rounds: int | None = None
    worded: Mapping[TrialPlace, bool] = field(default_factory=dict)
    left_out: Collection[TrialPlace] = ()

    @cached_property
    def n_rounds(self) -> int:
        """How many rounds the score is a mean of, at least 1."""
        n_logged = max((place[3] + 1 for place in self.marks), default=1)
        return n_logged if self.rounds is None else self.rounds


def build_verdict_table(
    expected: Mapping[str, list[str]],
    trials: int,
    done: Iterable[StoredTrial],
    marks: Iterable[Mark],
    *,
    rounds: int | None = None,
    worded: Mapping[TrialPlace, bool] | None = None,
) -> VerdictTable:
    """Put a log in order: of several verdicts on one round, the first readable one counts.

    So a round that is judged twice adds no vote and changes no score, and a later verdict replaces an
    error. A verdict on an earlier version of an answer does not count.
    """
    answers = {(d.group, d.query_id, d.trial): d for d in done}
    best: dict[tuple[str, str, int, int], Mark] = {}
    for mark in marks:
        answer = answers.get((mark.group, mark.query_id, mark.trial))
        if answer is None or answer.answer_hash != mark.answer_hash:
            continue
        place = (mark.group, mark.query_id, mark.trial, mark.round)
        if place not in best or best[place].status is Status.ERROR:
            best[place] = mark
    return VerdictTable(expected, trials, answers, best, rounds, worded or {})


def without_copies(table: VerdictTable) -> VerdictTable:
    """The table of the rounds for which judges were asked; copies say nothing about how far rounds agree."""
    marks = {place: mark for place, mark in table.marks.items() if not mark.is_copy}
    if len(marks) == len(table.marks):
        return table
    n_asked = max((place[3] + 1 for place in marks), default=1)
    return replace(table, marks=marks, rounds=min(n_asked, table.n_rounds))


def gate(answer: StoredTrial) -> str:
    """Why an answer is unsolved without a judge: gave_up, no_finish or empty; "" if a judge must decide."""
    if answer.answer_hash:
        return ""
    if answer.stop is StopReason.ANSWERED:
        return "empty"
    return "gave_up" if answer.stop is StopReason.GAVE_UP else "no_finish"


def gate_by_words(last: Step | None, final: str | None = None) -> bool:
    """Whether the published code takes an answer as finished: it searches the text of the last step.

    So a tool response that quotes a call of ``Finish`` passes, and an answer that mentions giving up
    does not. ``final`` is the final answer that an imported file gives beside its calls, if it differs from them.
    """
    if last is None or final == "" or "give_up_and_restart" in (final or ""):
        return False
    text = str({"name": last.function, "arguments": last.arguments, "response": last.observation})
    return "'name': 'Finish'" in text and "give_up_and_restart" not in text
