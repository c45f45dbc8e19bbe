"""Merging a bundle into the store, beside what the store already has of the same run.

Anyone can write any verdicts into a bundle. So they belong to a run that a bundle made, and only if they are on
answers from the same bundle. On answers of a run that was made here they are foreign: the log keeps them with the
name of the bundle, and they count only where they are asked for by it. Verdicts by rules are computed again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple, TypeVar

from stb_core.errors import ConflictError
from stb_core.store import Run, Store, StoredTrial
from stb_core.values import SOPR, Query, Status, StopReason, Trajectory, TrialPlace, Verdict
from stb_evaluator.judges import METRICS, RECORDED, Case, RulesJudge, judge_by_rules
from stb_evaluator.scores import load_queries
from stb_evaluator.transfer.bundles import Bundle

NOT_RECORDED = "recorded verdicts of this run are those of the files that it was imported from"
COMPUTED_HERE = "verdicts by rules are computed in this store"
NOT_HELD = "the bundle does not hold the answers that they are on"
NOT_HELD_HERE = "the run does not hold the answers that they are on"
NOT_BY_RULES = "the rules decide otherwise"
_SOURCE_LENGTH = 200
_TRAJECTORIES_AT_ONCE = 10  # each may be of many megabytes
_VERDICTS_AT_ONCE = 1_000

Item = TypeVar("Item")


@dataclass(frozen=True)
class Merged:
    """The result of merging a bundle.

    ``new_verdicts`` counts all that were added, ``foreign`` those of the bundle's that do not belong to the run;
    ``refused`` counts those that were left out, by reason. ``source`` is what the log calls the bundle.
    """

    run: str
    dataset: str
    queries: int
    verdicts: int
    new_queries: int
    new_verdicts: int
    foreign: int = 0
    source: str = ""
    refused: Mapping[str, int] = field(default_factory=dict)


async def merge_bundle(
    store: Store, bundle: Bundle, name: str = "", *, source: str = "a bundle", is_proof: bool = False
) -> Merged:
    """Add what the store lacks of the bundle's run; the same bundle again adds nothing.

    ``source`` is what the verdict log calls the bundle. In a proof, verdicts by rules that cannot be computed
    again, because the bundle lacks their query, belong to the run: the proof derives numbers from them.

    A trial lost to an infrastructure failure has no answer: the answer of another bundle or of the store is kept.

    Raises:
        ConflictError: a run of that name has other settings, or another answer to the same trial; or it was made
            in this store, and lacks queries or answers of the bundle.
    """
    run = name or bundle.run
    existing = await store.runs.find(run)
    if existing is not None and existing.manifest.hash != bundle.manifest.hash:
        raise ConflictError(
            f"A run {run!r} exists with other settings than the bundle's.", hint="Choose a name with --name."
        )
    held = {(d.group, d.query_id, d.trial): d for d in await store.runs.done(run)}
    answers = sum_up_answers(bundle, {})
    new = _new_answers(run, answers, held)
    _refuse_additions(existing, bundle, new)
    made = await store.runs.create(
        run, bundle.manifest, bundle.expected, name or bundle.name, brought=existing is None
    )
    await store.runs.expect(run, bundle.expected)
    await store.runs.put_queries(run, bundle.queries)
    fresh = (t for t in bundle.trajectories if (t.group, t.query_id, t.trial) in new)
    for trajectories in _batches(fresh, _TRAJECTORIES_AT_ONCE):
        await store.runs.put_trajectories(run, trajectories)
    known = {_said(v) for v in await store.verdicts.of_run(run, metric="", with_foreign=True)}
    queries = await load_queries(store, made)
    if made.brought:
        answers = sum_up_answers(bundle, queries)
    seen = foreign = added = 0
    refused: Counter[str] = Counter()

    def taken_verdicts() -> Iterator[Verdict]:
        nonlocal seen
        for seen, read in enumerate(bundle.verdicts, start=1):  # noqa: B007 - the last number is their count
            verdict = read.model_copy(update={"run": run})
            if _said(verdict) in known:
                continue
            if made.brought:
                taken = _of_its_own_run(verdict, answers, source, is_proof=is_proof)
            else:
                taken = _of_a_run_made_here(verdict, held, source)
            if isinstance(taken, str):
                refused[taken] += 1
            else:
                yield taken

    for verdicts in _batches(taken_verdicts(), _VERDICTS_AT_ONCE):
        added += len(verdicts) - await store.verdicts.append(verdicts)
        foreign += sum(verdict.is_foreign for verdict in verdicts)
    return Merged(
        run,
        bundle.manifest.dataset,
        len(answers),
        seen,
        len(new),
        added,
        foreign=foreign,
        source=source,
        refused=refused,
    )


class AnswerSummary(NamedTuple):
    """What is remembered of an answer of a bundle; ``by_rules`` is None where its query is not known."""

    stop: StopReason
    content_hash: str
    answer_hash: str
    by_rules: Status | None


def sum_up_answers(
    bundle: Bundle, queries: Mapping[tuple[str, str], Query]
) -> dict[TrialPlace, AnswerSummary]:
    """All answers of a bundle, in one pass; judged by rules where their query is among these."""

    def by_rules(answer: Trajectory) -> Status | None:
        query = queries.get((answer.group, answer.query_id))
        return None if query is None else judge_by_rules(Case(answer, query)).status

    return {
        (t.group, t.query_id, t.trial): AnswerSummary(t.stop, t.content_hash, t.answer_hash, by_rules(t))
        for t in bundle.trajectories
    }


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _new_answers(
    run: str, answers: Mapping[TrialPlace, AnswerSummary], held: Mapping[TrialPlace, StoredTrial]
) -> set[TrialPlace]:
    """The answers that the store lacks, or has lost to an infrastructure failure."""
    new = set()
    for place, answer in answers.items():
        if place not in held:
            new.add(place)
        elif answer.stop is StopReason.INFRASTRUCTURE:
            continue
        elif held[place].stop is StopReason.INFRASTRUCTURE:
            new.add(place)
        elif held[place].content_hash != answer.content_hash:
            raise ConflictError(
                f"The run {run!r} has another answer to {place[0]}/{place[1]} than the bundle.",
                hint="Nothing was changed. Choose a name with --name.",
            )
    return new


def _refuse_additions(existing: Run | None, bundle: Bundle, new: Collection[TrialPlace]) -> None:
    """Refuse a bundle that has more than a run which was made in this store: what it did is known here alone."""
    if existing is None or existing.brought:
        return
    n_queries = sum(
        len(set(ids).difference(existing.expected.get(group, ()))) for group, ids in bundle.expected.items()
    )
    found = [f"{n} {what}" for n, what in ((len(new), "answers"), (n_queries, "queries")) if n]
    if found:
        raise ConflictError(
            f"The run {existing.run!r} was made in this store, and the bundle has {' and '.join(found)} that it lacks.",
            hint="Nothing was changed. Import the bundle as another run: --name NAME.",
        )


def _of_its_own_run(
    verdict: Verdict,
    answers: Mapping[TrialPlace, AnswerSummary],
    source: str,
    *,
    is_proof: bool,
) -> Verdict | str:
    """A verdict of the bundle that made the run, as the log keeps it, or why it is not accepted.

    One by the rules was computed again, so it is as good as one of this store.
    """
    if reason := reason_to_refuse(verdict, answers):
        return reason
    is_foreign = bool(verdict.source)
    if _is_by_rules(verdict) and not is_foreign:
        answer = answers.get((verdict.group, verdict.query_id, verdict.trial))
        can_check = verdict.rubric == RulesJudge.rubric and answer is not None and answer.by_rules is not None
        if can_check or is_proof:
            return verdict
        is_foreign = True
    return _brought(verdict, source, is_foreign=is_foreign)


def _of_a_run_made_here(
    verdict: Verdict, held: Mapping[TrialPlace, StoredTrial], source: str
) -> Verdict | str:
    """A verdict of others on a run of this store, as the log keeps it, or why it is not accepted."""
    if _is_by_rules(verdict):
        return COMPUTED_HERE
    if verdict.judge == RECORDED:
        return NOT_RECORDED
    answer = held.get((verdict.group, verdict.query_id, verdict.trial))
    is_held = answer is not None and answer.answer_hash == verdict.answer_hash
    if is_on_answer(verdict.metric) and not is_held:
        return NOT_HELD_HERE
    return _brought(verdict, source, is_foreign=True)


def _brought(verdict: Verdict, source: str, *, is_foreign: bool) -> Verdict:
    """The verdict with what brought it, and what that says brought it there."""
    told = f"{source}:{verdict.source}" if verdict.source else source
    return verdict.model_copy(update={"source": told[:_SOURCE_LENGTH], "is_foreign": is_foreign})


def _said(verdict: Verdict) -> str:
    """All that a verdict says but where it came from."""
    return verdict.model_dump_json(exclude={"source", "is_foreign"})


def _is_by_rules(verdict: Verdict) -> bool:
    return (verdict.metric, verdict.judge) == (SOPR, RulesJudge.name)


def is_on_answer(metric: str) -> bool:
    """Whether verdicts by a metric are on single answers as they are.

    Others are on pairs, or on answers that were changed to try a judge.
    """
    return metric in METRICS


def reason_to_refuse(verdict: Verdict, answers: Mapping[TrialPlace, AnswerSummary]) -> str:
    """Why a verdict of a bundle with these answers is not accepted; "" if it is."""
    if not is_on_answer(verdict.metric):
        return ""
    answer = answers.get((verdict.group, verdict.query_id, verdict.trial))
    if answer is None or answer.answer_hash != verdict.answer_hash:
        return NOT_HELD
    is_current = _is_by_rules(verdict) and verdict.rubric == RulesJudge.rubric
    if is_current and answer.by_rules is not None and verdict.status is not Status.ERROR:
        return "" if answer.by_rules is verdict.status else NOT_BY_RULES
    return ""
