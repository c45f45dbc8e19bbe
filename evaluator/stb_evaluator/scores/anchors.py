"""Anchors: answers that a judge is asked about again, so that a change of the model behind its name shows.

There are two kinds. ``UNDISPUTED`` answers come with the program, and their grades are known. ``EARLIER``
answers are those that this judge has judged in this store before. Verdicts on anchors are kept with a run of
their own, under metrics of their own, and so never count as rounds of a score.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from stb_core.store import Store
from stb_core.values import POINTS, Judgement, Manifest, Status, Verdict
from stb_evaluator.judges import MODE, Anchor, Case, Judge, JudgingTally, judge_all
from stb_evaluator.judges.ask_many import Reserve
from stb_evaluator.scores.run_reader import without_agent_name
from stb_evaluator.statistics import mcnemar

UNDISPUTED, EARLIER = "anchor", "anchor-again"
ANCHOR_RUN = "judge-anchors"
MAX_CALLS = 12
"""Most calls of a session for ``EARLIER`` anchors, unless replies are unreadable and asked for again."""
DRIFT_P = 0.05
"""Below this p the changes of verdicts are more than chance."""

_CANDIDATES = 100

AnchorSession = Mapping[str, Status]
"""Verdicts of one session by the hashes of answers."""


async def load_sessions(store: Store, judge: Judge, kind: str) -> Sequence[AnchorSession]:
    """The verdicts of a judge and its rubric on anchors of one kind, session by session."""
    verdicts = await store.verdicts.of_run(ANCHOR_RUN, metric=kind, judge=judge.name, rubric=judge.rubric)
    n_sessions = max((verdict.round + 1 for verdict in verdicts), default=0)
    sessions: list[dict[str, Status]] = [{} for _ in range(n_sessions)]
    for verdict in verdicts:
        sessions[verdict.round].setdefault(verdict.answer_hash, verdict.status)
    return sessions


async def ask_anchors(
    store: Store,
    judge: Judge,
    kind: str,
    anchors: Sequence[Anchor],
    session: int,
    *,
    connections: int,
    tally: JudgingTally,
    advance: Callable[[int, int], None] = lambda _done, _all: None,
    reserve: Reserve[Anchor] | None = None,
) -> list[Verdict]:
    """Ask a judge about anchors, as session number ``session``; the verdicts are logged.

    Each session sends the same requests as the first round of a scoring, so that only a change of the model
    changes its replies.
    """
    manifest = Manifest(dataset=ANCHOR_RUN, dataset_hash="", agent=ANCHOR_RUN, mode=MODE)
    await store.runs.create(ANCHOR_RUN, manifest, {})

    def verdict(anchor: Anchor, judgement: Judgement) -> Verdict:
        answer = anchor.trajectory
        return Verdict.of(
            judgement,
            (answer.group, answer.query_id, answer.trial),
            run=ANCHOR_RUN,
            metric=kind,
            judge=judge.name,
            rubric=judge.rubric,
            number=session,
            answer_hash=answer.answer_hash,
        )

    return await judge_all(
        store,
        anchors,
        lambda anchor: judge.judge(Case(anchor.trajectory, anchor.query), 0),
        verdict,
        connections=connections,
        tally=tally,
        advance=advance,
        reserve=reserve,
    )


async def choose_earlier(store: Store, judge: Judge, metric: str) -> list[Anchor]:
    """Up to ``MAX_CALLS`` answers of the store's own runs that this judge and rubric have judged.

    Those of former sessions come first, so the choice is fixed; others come by their hashes. The expected
    grade is the first verdict.
    """
    sessions = await load_sessions(store, judge, EARLIER)
    former = sorted({answer_hash for session in sessions for answer_hash in session})
    verdicts = store.verdicts
    known = await verdicts.by_answers(former, metric=metric, judge=judge.name, rubric=judge.rubric)
    known += await verdicts.first_rounds(
        metric=metric, judge=judge.name, rubric=judge.rubric, limit=_CANDIDATES
    )
    first: dict[str, Verdict] = {}
    for verdict in known:
        if verdict.round == 0 and verdict.status is not Status.ERROR:
            first.setdefault(verdict.answer_hash, verdict)
    in_order = [*(h for h in former if h in first), *(h for h in sorted(first) if h not in former)]
    chosen: list[Anchor] = []
    for answer_hash in in_order:
        if len(chosen) < MAX_CALLS and (anchor := await _load_anchor(store, first[answer_hash])):
            chosen.append(anchor)
    return chosen


async def _load_anchor(store: Store, verdict: Verdict) -> Anchor | None:
    """The answer of a verdict; None if it is not in the store any more."""
    run = await store.runs.find(verdict.run)
    if run is None:
        return None
    async for found in store.runs.trajectories(run.run, group=verdict.group, query_id=verdict.query_id):
        if (found.trial, found.answer_hash) == (verdict.trial, verdict.answer_hash):
            plain = without_agent_name(run, found.model_copy(update={"tree": None}))
            return Anchor(plain, verdict.status)
    return None


@dataclass(frozen=True)
class AnchorChanges:
    """How the verdicts of a session differ from those before, on the ``n`` answers that have both."""

    n: int
    changes: Counter[tuple[Status, Status]]

    @property
    def n_better(self) -> int:
        """Answers that got a better verdict than before."""
        return sum(count for (a, b), count in self.changes.items() if POINTS[b] > POINTS[a])

    @property
    def n_worse(self) -> int:
        """Answers that got a worse verdict than before."""
        return self.changes.total() - self.n_better

    @property
    def p(self) -> float:
        """McNemar's test that verdicts became better as often as worse."""
        return mcnemar(self.n_better, self.n_worse).p

    @property
    def is_drift(self) -> bool:
        """Whether chance does not explain the changes."""
        return self.p < DRIFT_P

    @property
    def in_words(self) -> str:
        """Which verdicts became which, the most frequent change first."""
        return ", ".join(
            f"{before.value} → {after.value} {count}" for (before, after), count in self.changes.most_common()
        )


def count_changes(before: AnchorSession, now: AnchorSession) -> AnchorChanges:
    """Compare a session with the verdicts before it; failed verdicts are left out."""
    pairs = [
        (before[answer_hash], status)
        for answer_hash, status in now.items()
        if answer_hash in before and Status.ERROR not in {before[answer_hash], status}
    ]
    return AnchorChanges(len(pairs), Counter(pair for pair in pairs if pair[0] is not pair[1]))


def last_agreeing(first: AnchorSession, sessions: Sequence[AnchorSession]) -> AnchorSession:
    """The latest verdicts of sessions without drift, answer by answer, beginning with the ``first`` verdicts.

    A session with drift is passed over: otherwise the second one after a change would find nothing.
    """
    reference = dict(first)
    for session in sessions:
        if not count_changes(reference, session).is_drift:
            reference |= {h: status for h, status in session.items() if status is not Status.ERROR}
    return reference


def share_right(anchors: Sequence[Anchor], session: AnchorSession) -> tuple[int, int]:
    """How many anchors got the expected grade, and how many got a readable one."""
    said = [(session.get(a.trajectory.answer_hash, Status.ERROR), a.expected) for a in anchors]
    readable = [(status, expected) for status, expected in said if status is not Status.ERROR]
    return sum(status is expected for status, expected in readable), len(readable)
