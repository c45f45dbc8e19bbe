"""Merging a bundle into the store, beside what the store already has of the same run.

Anyone can write any verdicts into a bundle. So they count only in a run that a bundle made, and only on answers
from the same bundle; verdicts by rules are computed again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from stb_core.errors import ConflictError
from stb_core.store import Store
from stb_core.values import SOPR, Query, Status, StopReason, Trajectory, Verdict
from stb_evaluator.judges import METRICS, Case, RulesJudge, judge_by_rules
from stb_evaluator.scores import TrialPlace, load_queries
from stb_evaluator.transfer.bundles import Bundle

FOREIGN = "the run was made in this store, where only verdicts that were given here count"
NOT_HELD = "the bundle does not hold the answers that they are on"
NOT_BY_RULES = "the rules decide otherwise"


@dataclass(frozen=True)
class Merged:
    """The result of merging a bundle; ``refused`` counts verdicts that were left out, by reason."""

    run: str
    dataset: str
    queries: int
    verdicts: int
    new_queries: int
    new_verdicts: int
    refused: Mapping[str, int] = field(default_factory=dict)


async def merge_bundle(store: Store, bundle: Bundle, name: str = "") -> Merged:
    """Add what the store lacks of the bundle's run; the same bundle again adds nothing.

    A trial lost to an infrastructure failure has no answer: the answer of another bundle or of the store is kept.

    Raises:
        ConflictError: a run of that name has other settings, or another answer to the same trial.
    """
    run = name or bundle.run
    existing = await store.runs.find(run)
    if existing is not None and existing.manifest.hash != bundle.manifest.hash:
        raise ConflictError(
            f"A run {run!r} exists with other settings than the bundle's.", hint="Choose a name with --name."
        )
    held = {(d.group, d.query_id, d.trial): d for d in await store.runs.done(run)}
    places = {(t.group, t.query_id, t.trial): t for t in bundle.trajectories}
    new = []
    for place, trajectory in places.items():
        if place not in held:
            new.append(trajectory)
        elif trajectory.stop is StopReason.INFRASTRUCTURE:
            continue
        elif held[place].stop is StopReason.INFRASTRUCTURE:
            new.append(trajectory)
        elif held[place].content_hash != trajectory.content_hash:
            raise ConflictError(
                f"The run {run!r} has another answer to {place[0]}/{place[1]} than the bundle.",
                hint="Nothing was changed. Choose a name with --name.",
            )
    made = await store.runs.create(
        run, bundle.manifest, bundle.expected, name or bundle.name, brought=existing is None
    )
    await store.runs.expect(run, bundle.expected)
    await store.runs.put_queries(run, bundle.queries)
    await store.runs.put_trajectories(run, new)
    known = {v.model_dump_json() for v in await store.verdicts.of_run(run, metric="")}
    queries = await load_queries(store, made)
    verdicts = [verdict.model_copy(update={"run": run}) for verdict in bundle.verdicts]
    unknown: list[Verdict] = []
    refused: Counter[str] = Counter()
    for verdict in verdicts:
        if verdict.model_dump_json() in known:
            continue
        reason = reason_to_refuse(verdict, places, queries) if made.brought else FOREIGN
        if reason:
            refused[reason] += 1
        else:
            unknown.append(verdict)
    await store.verdicts.append(unknown)
    return Merged(run, bundle.manifest.dataset, len(places), len(verdicts), len(new), len(unknown), refused)


def is_on_answer(metric: str) -> bool:
    """Whether verdicts by a metric are on single answers as they are.

    Others are on pairs, or on answers that were changed to try a judge.
    """
    return metric in METRICS


def reason_to_refuse(
    verdict: Verdict, answers: Mapping[TrialPlace, Trajectory], queries: Mapping[tuple[str, str], Query]
) -> str:
    """Why a verdict of a bundle with these answers is not accepted; "" if it is."""
    if not is_on_answer(verdict.metric):
        return ""
    answer = answers.get((verdict.group, verdict.query_id, verdict.trial))
    if answer is None or answer.answer_hash != verdict.answer_hash:
        return NOT_HELD
    query = queries.get((verdict.group, verdict.query_id))
    by_rules = (verdict.metric, verdict.judge, verdict.rubric) == (SOPR, RulesJudge.name, RulesJudge.rubric)
    if by_rules and query is not None and verdict.status is not Status.ERROR:
        return "" if judge_by_rules(Case(answer, query)).status is verdict.status else NOT_BY_RULES
    return ""
