"""What scoring reads from the store about one run, each part once for the length of a command."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from stb_core.store import BroughtVerdicts, Mark, Run, Store, StoredTrial
from stb_core.values import SOPR, Message, Query, Status, Step, StopReason, Trajectory, TrialPlace, Verdict
from stb_core.values.verdicts import unfinished
from stb_evaluator.formats import kept_final_answer
from stb_evaluator.judges import (
    RECORDED,
    Panel,
    PanelMember,
    find_brought,
    is_imported,
    majority_marks,
)
from stb_evaluator.scores.costs import FREE_JUDGES, Account
from stb_evaluator.scores.trial_facts import ScoredTrials, TrialFacts
from stb_evaluator.scores.verdict_table import VerdictTable, build_verdict_table, gate_by_words

_PLAIN = ("group", "query_id", "query", "trial", "stop", "usage", "simulator_usage", "steps", "imported")
_SUMMARIZED: dict[str, Any] = {**dict.fromkeys(_PLAIN, True), "tree": {"__all__": {"step"}}}


@dataclass
class TrajectorySummary:
    """What scores need of all trajectories of a run, gathered in one pass.

    ``accounts`` holds what agent and simulator consumed, by group; ``worded`` says of each answer whether
    the published code would take it for one (``gate_by_words``); ``texts`` are the queries as they were asked;
    ``trials`` is what headlines and shares rest on.
    """

    accounts: dict[str, Account] = field(default_factory=lambda: defaultdict(Account))
    worded: dict[TrialPlace, bool] = field(default_factory=dict)
    texts: dict[tuple[str, str], str] = field(default_factory=dict)
    trials: dict[TrialPlace, TrialFacts] = field(default_factory=dict)

    def add(self, trajectory: Mapping[str, Any]) -> None:
        """Take in one trajectory, as its JSON form."""
        group, query_id, steps = trajectory["group"], trajectory["query_id"], trajectory["steps"]
        self.accounts[group].add_trajectory(trajectory)
        last = Step.model_validate(steps[-1]) if steps else None
        final = kept_final_answer(trajectory.get("imported"))
        self.worded[group, query_id, trajectory["trial"]] = gate_by_words(last, final)
        self.trials[group, query_id, trajectory["trial"]] = TrialFacts.of(trajectory)
        self.texts[group, query_id] = trajectory["query"]


class RunReader:
    """Reads one run; what was read once is not read again.

    With ``keep_trajectories`` all trajectories stay in memory for a second use. With ``part``, queries by
    group, only these are read, as if the run were to answer no others.
    """

    def __init__(
        self,
        store: Store,
        run: Run,
        *,
        keep_trajectories: bool = False,
        part: dict[str, list[str]] | None = None,
    ) -> None:
        self.store = store
        self.run = run if part is None else replace(run, expected=part)
        self.part_of = None if part is None else sum(len(ids) for ids in run.expected.values())
        """How many queries the whole run has; None if all of them are read."""
        self._keep = keep_trajectories
        self._answers: list[StoredTrial] | None = None
        self._came: list[BroughtVerdicts] | None = None
        self._marks: dict[tuple[str, PanelMember], list[Mark]] = {}
        self._queries: dict[tuple[str, str], Query] | None = None
        self._summary: TrajectorySummary | None = None
        self._trajectories: list[Trajectory] | None = None
        self._shown: dict[TrialPlace, Trajectory] | None = None

    async def verdict_table(
        self,
        panel: Panel,
        *,
        rounds: int | None,
        metric: str = SOPR,
        worded: Mapping[TrialPlace, bool] | None = None,
    ) -> VerdictTable:
        """All that the scores of the run by one panel depend on; ``worded`` see ``VerdictTable``."""
        if self._answers is None:
            done = await self.store.runs.done(self.run.run)
            self._answers = [answer for answer in done if self._is_read(answer.group, answer.query_id)]
        logs = [await self._log(metric, member) for member in panel.members]
        return build_verdict_table(
            self.run.expected,
            self.run.trials,
            self._answers,
            majority_marks(logs),
            rounds=rounds,
            worded=worded,
        )

    async def _log(self, metric: str, member: PanelMember) -> list[Mark]:
        key = metric, member
        if key not in self._marks:
            self._marks[key] = await self._read_log(metric, member)
        return self._marks[key]

    async def _read_log(self, metric: str, member: PanelMember) -> list[Mark]:
        run, marks = self.run, self.store.verdicts.marks
        if is_imported(member.judge):
            asked = find_brought(await self._brought(), run.run, member.judge, metric)
            return await marks(
                run.run, metric=metric, judge=asked.judge, rubric=asked.rubric, source=asked.source
            )
        return await marks(run.run, metric=metric, judge=member.judge, rubric=member.rubric)

    async def brought_verdicts(self, panel: Panel, metric: str) -> dict[str, int]:
        """How many of a panel's verdicts came with a bundle or a file, by its name.

        Those of ``recorded`` are left out: the name says it.
        """
        counts: dict[str, int] = {}
        for member in panel.members:
            if is_imported(member.judge):
                found = [find_brought(await self._brought(), self.run.run, member.judge, metric)]
            else:
                named = (metric, member.judge, member.rubric)
                found = [
                    one
                    for one in await self._brought()
                    if (one.metric, one.judge, one.rubric) == named and not one.is_foreign
                ]
            for one in found:
                if one.judge != RECORDED or is_imported(member.judge):
                    counts[one.source] = counts.get(one.source, 0) + one.verdicts
        return counts

    async def _brought(self) -> list[BroughtVerdicts]:
        if self._came is None:
            self._came = await self.store.verdicts.brought(self.run.run)
        return self._came

    def forget(self, metric: str, member: PanelMember) -> None:
        """Read the answers, and the verdicts of one judge, again when they are needed next."""
        self._answers = None
        self._marks.pop((metric, member), None)

    def add_verdicts(self, verdicts: Sequence[Verdict]) -> None:
        """Count verdicts that were appended to the log since it was read."""
        for v in verdicts:
            log = self._marks.get((v.metric, PanelMember(v.judge, v.rubric)))
            if log is not None:
                log.append(Mark(v.group, v.query_id, v.trial, v.round, v.status, v.answer_hash, v.is_copy))

    async def summary(self) -> TrajectorySummary:
        """What scores need of all trajectories."""
        if self._summary is None:
            summary = TrajectorySummary()
            if self._keep:
                async for _ in self.trajectories():
                    pass
                return await self.summary()
            async for text in self.store.runs.documents(self.run.run):
                document = orjson.loads(text)
                if self._is_read(document["group"], document["query_id"]):
                    summary.add(document)
            self._summary = summary
        return self._summary

    async def scored_trials(self) -> ScoredTrials:
        """What the trials say on which the scores rest, by place."""
        expected = {(group, query_id) for group, ids in self.run.expected.items() for query_id in ids}
        return {
            place: trial
            for place, trial in (await self.summary()).trials.items()
            if place[:2] in expected and trial.stop != StopReason.INFRASTRUCTURE
        }

    async def trajectories(self) -> AsyncGenerator[Trajectory]:
        """Every trajectory without its search tree, which may be large and which no score needs."""
        if self._trajectories is not None:
            for trajectory in self._trajectories:
                yield trajectory
            return
        summary, kept = TrajectorySummary(), []
        async for trajectory in self.store.runs.trajectories(self.run.run):
            if not self._is_read(trajectory.group, trajectory.query_id):
                continue
            plain = trajectory if trajectory.tree is None else trajectory.model_copy(update={"tree": None})
            if self._summary is None:
                summary.add(trajectory.model_dump(include=_SUMMARIZED))
            if self._keep:
                kept.append(plain)
            yield plain
        self._summary = self._summary or summary
        self._trajectories = kept if self._keep else None

    async def answers(self) -> Mapping[TrialPlace, Trajectory]:
        """The trajectory of every trial with what a judge of answers is shown: the steps, and what the agent said."""
        if self._shown is None:
            self._shown = {
                (one.group, one.query_id, one.trial): one.model_copy(update={"messages": _said_by_agent(one)})
                async for one in self.trajectories()
            }
        return self._shown

    def _is_read(self, group: str, query_id: str) -> bool:
        return self.part_of is None or query_id in self.run.expected.get(group, ())

    async def queries(self) -> dict[tuple[str, str], Query]:
        """The queries of the run by (group, id): those that came with it, then those of its dataset.

        Empty when neither is in the store.
        """
        if self._queries is None:
            known = await self._dataset_queries()
            known |= {(q.group, q.query_id): q for q in await self.store.runs.queries(self.run.run)}
            self._queries = known
        return self._queries

    async def _dataset_queries(self) -> dict[tuple[str, str], Query]:
        for dataset in await self.store.datasets.all():
            if dataset.name == self.run.dataset:
                known = {(q.group, q.query_id): q for q in await self.store.datasets.queries(dataset.id)}
                if self.run.manifest.dataset_hash in {"", dataset.content_hash}:
                    return known
                # The dataset changed, or another one has its name: a query with other words was not asked.
                texts = (await self.summary()).texts
                return {place: q for place, q in known.items() if texts.get(place, q.text) == q.text}
        return {}

    async def accounts(self, panel: Panel, *, metric: str) -> dict[str, Account]:
        """The account of every group, with what this panel consumed on it."""
        accounts: dict[str, Account] = defaultdict(Account)
        for group, account in (await self.summary()).accounts.items():
            accounts[group].add(account)
        for member in panel.members:
            if member.judge in FREE_JUDGES or is_imported(member.judge):
                continue
            for name in (metric, unfinished(metric)):
                for verdict in await self.store.verdicts.of_run(
                    self.run.run, metric=name, judge=member.judge, rubric=member.rubric
                ):
                    if not self._is_read(verdict.group, verdict.query_id):
                        continue
                    accounts[verdict.group].add_usage("judge", verdict.usage.model_dump())
                    accounts[verdict.group].copied_verdicts += verdict.is_copy
        return accounts

    async def reread(
        self, panel: Panel, metric: str, read: Callable[[str], Status]
    ) -> dict[tuple[str, str, int, int], Status]:
        """What another way of reading makes of the same replies, by (group, query, trial, round)."""
        statuses: dict[tuple[str, str, int, int], Status] = {}
        for member in panel.members:
            for verdict in await self.store.verdicts.of_run(
                self.run.run, metric=metric, judge=member.judge, rubric=member.rubric
            ):
                if verdict.raw:
                    place = (verdict.group, verdict.query_id, verdict.trial, verdict.round)
                    statuses[place] = read(verdict.raw[-1])
        return statuses


async def load_verdict_table(
    store: Store, run: Run, panel: Panel, *, rounds: int | None, metric: str = SOPR
) -> VerdictTable:
    """The verdict table of a run of which nothing else is needed."""
    return await RunReader(store, run).verdict_table(panel, rounds=rounds, metric=metric)


async def load_queries(store: Store, run: Run) -> dict[tuple[str, str], Query]:
    """The queries of a run of which nothing else is needed; see ``RunReader.queries``."""
    return await RunReader(store, run).queries()


def _said_by_agent(trajectory: Trajectory) -> tuple[Message, ...]:
    """The agent's messages; none if they hold nothing beside the calls."""
    said = tuple(message for message in trajectory.messages if message.role == "assistant")
    return said if any(message.content for message in said) else ()


def without_agent_name(run: Run, trajectory: Trajectory) -> Trajectory:
    """An answer as a judge may see it: of an imported run the agent is the system's or the folder's name."""
    return trajectory.model_copy(update={"agent": ""}) if run.manifest.imported_from else trajectory
