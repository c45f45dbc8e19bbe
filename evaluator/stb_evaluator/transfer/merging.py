"""Merging a bundle into the store, beside what the store already has of the same run.

Anyone can write any verdicts into a bundle. So they belong to a run that a bundle made, and only if they are on
answers from the same bundle. On answers of a run that was made here they are foreign: the log keeps them with the
name of the bundle, and they count only where they are asked for by it. Verdicts by rules are computed again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
    places = {(t.group, t.query_id, t.trial): t for t in bundle.trajectories}
    new = _new_answers(run, places, held)
    _refuse_additions(existing, bundle, new)
    made = await store.runs.create(
        run, bundle.manifest, bundle.expected, name or bundle.name, brought=existing is None
    )
    await store.runs.expect(run, bundle.expected)
    await store.runs.put_queries(run, bundle.queries)
    await store.runs.put_trajectories(run, new)
    known = {_said(v) for v in await store.verdicts.of_run(run, metric="", with_foreign=True)}
    queries = await load_queries(store, made)
    new_verdicts: list[Verdict] = []
    refused: Counter[str] = Counter()
    for verdict in (verdict.model_copy(update={"run": run}) for verdict in bundle.verdicts):
        if _said(verdict) in known:
            continue
        if made.brought:
            taken = _of_its_own_run(verdict, places, queries, source, is_proof=is_proof)
        else:
            taken = _of_a_run_made_here(verdict, held, source)
        if isinstance(taken, str):
            refused[taken] += 1
        else:
            new_verdicts.append(taken)
    dropped = await store.verdicts.append(new_verdicts)
    return Merged(
        run,
        bundle.manifest.dataset,
        len(places),
        len(bundle.verdicts),
        len(new),
        len(new_verdicts) - dropped,
        foreign=sum(verdict.is_foreign for verdict in new_verdicts),
        source=source,
        refused=refused,
    )


def _new_answers(
    run: str, answers: Mapping[TrialPlace, Trajectory], held: Mapping[TrialPlace, StoredTrial]
) -> list[Trajectory]:
    """The answers that the store lacks, or has lost to an infrastructure failure."""
    new = []
    for place, trajectory in answers.items():
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
    return new


def _refuse_additions(existing: Run | None, bundle: Bundle, new: Sequence[Trajectory]) -> None:
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
    answers: Mapping[TrialPlace, Trajectory],
    queries: Mapping[tuple[str, str], Query],
    source: str,
    *,
    is_proof: bool,
) -> Verdict | str:
    """A verdict of the bundle that made the run, as the log keeps it, or why it is not accepted.

    One by the rules was computed again, so it is as good as one of this store.
    """
    if reason := reason_to_refuse(verdict, answers, queries):
        return reason
    is_foreign = bool(verdict.source)
    if _is_by_rules(verdict) and not is_foreign:
        can_check = verdict.rubric == RulesJudge.rubric and (verdict.group, verdict.query_id) in queries
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
    is_current = _is_by_rules(verdict) and verdict.rubric == RulesJudge.rubric
    if is_current and query is not None and verdict.status is not Status.ERROR:
        return "" if judge_by_rules(Case(answer, query)).status is verdict.status else NOT_BY_RULES
    return ""
