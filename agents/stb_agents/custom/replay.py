"""``replay:RUN``: make the calls of a stored run again without its agent, to study caches and load."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from stb_agents.environment import UNLIMITED, Budget, Environment, ModelUse, Outcome, Task
from stb_core.values import FINISH, Finished, Functions, Step, StopReason

if TYPE_CHECKING:
    from stb_core.store import Store

PREFIX = "replay:"
_Place = tuple[str, str, int]


@dataclass(frozen=True)
class Replay:
    """Makes the calls of a run again, on the same queries, and hands in the same answers.

    It makes the calls of a search's abandoned branches too, in the original order.
    """

    run: str
    steps: dict[_Place, tuple[Step, ...]] = field(repr=False)
    ends: dict[_Place, Finished] = field(repr=False)

    name: ClassVar[str] = "replay"
    model_use: ClassVar[ModelUse] = "none"
    budget: ClassVar[Budget] = UNLIMITED

    def settings(self) -> dict[str, Any]:
        """The run that is replayed."""
        return {"run": self.run}

    async def solve(self, task: Task, environment: Environment) -> Outcome:
        """Make the calls of the query's trial, or of its first trial where the run has no such trial."""
        place = (task.query.group, task.query.query_id, task.trial)
        if place not in self.steps:
            place = (*place[:2], 0)
        for step in self.steps.get(place, ()):
            if step.function == FINISH:
                environment.finish(step.arguments)
            else:
                await environment.call(function_of(step, environment.functions), step.arguments)
        end = self.ends.get(place, Finished(StopReason.NO_FINISH))
        return Outcome(end.stop, end.final_answer)


def function_of(step: Step, functions: Functions) -> str:
    """The name under which the API of a step is offered; the step's own where it is not offered."""
    for function in functions.all:
        if function.ref == (step.category, step.tool, step.api):
            return function.name
    return step.function


async def load_replay(store: Store, name: str) -> Replay:
    """An agent that replays a stored run.

    Raises:
        NotFoundError: there is no such run.
    """
    run = await store.runs.get(name)
    steps: dict[_Place, tuple[Step, ...]] = {}
    ends: dict[_Place, Finished] = {}
    async for trajectory in store.runs.trajectories(run.run):
        place = (trajectory.group, trajectory.query_id, trajectory.trial)
        # Observations are long and not needed again.
        steps[place] = tuple(step.model_copy(update={"observation": ""}) for step in trajectory.all_steps)
        ends[place] = Finished(trajectory.stop, trajectory.final_answer)
    return Replay(run.run, steps, ends)
