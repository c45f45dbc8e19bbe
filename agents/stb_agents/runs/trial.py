"""One trial: an agent solves one task. It always yields a trajectory, whatever the agent does."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from stb_agents.environment import Agent, BudgetSpent, Environment, Outcome, RunStopped, Task
from stb_core.errors import (
    ModelUnavailableError,
    ServiceError,
    StbError,
    StoreError,
    UnreadableReplyError,
    UsageError,
)
from stb_core.llm import stop_after_refusal
from stb_core.telemetry import mask_secrets
from stb_core.values import StopReason, Trajectory
from stb_core.values.trajectories import conversation

_WITHOUT_FINISH = frozenset({StopReason.NO_FINISH, StopReason.MAX_STEPS})
_LONGEST_ERROR = 500
_GRACE_S = 0.5
"""How long an agent may take, after its time is up, to hand in what it has."""


async def run_trial(agent: Agent, task: Task, environment: Environment, model: str | None) -> Trajectory:
    """Let the agent work until it ends, fails or has spent its budget.

    A failure of the server or of the model's endpoint stops the trial as ``infrastructure``: it is no result,
    and the trial is repeated. A failure of the agent stops it as ``agent_error``, which is a result. Which of
    them a refused request is, ``stb_core.llm.blame`` decides.

    Args:
        agent: solves the task.
        task: the query, with the number of the trial.
        environment: of this trial alone; it has recorded nothing yet.
        model: name of the agent's model, for the trajectory; None for an agent without one.

    Raises:
        StoreError, UsageError, RunStopped: the run as a whole cannot go on.
    """
    outcome = await _outcome(agent, task, environment)
    if (current := asyncio.current_task()) and current.cancelling():  # also where the agent caught it
        raise asyncio.CancelledError
    if environment.fault is not None:  # an agent that continued all the same gets no result
        outcome = replace(_infrastructure(environment.fault), tree=outcome.tree)
    elif environment.spent is not None:
        outcome = replace(outcome, stop=environment.spent, final_answer="", error="")
    elif environment.refused is not None:
        outcome = await _refused(outcome, environment)
    elif environment.is_reply_cut and outcome.stop in _WITHOUT_FINISH:
        outcome = replace(outcome, stop=StopReason.REPLY_CUT)
    steps = tuple(environment.steps) if outcome.steps is None else outcome.steps
    messages = environment.messages if outcome.messages is None else outcome.messages
    messages = messages or conversation(task.text, steps)
    return Trajectory(
        group=task.query.group,
        query_id=task.query.query_id,
        query=task.text,
        trial=task.trial,
        agent=agent.name,
        model=model,
        available_tools=environment.functions.names,
        messages=messages,
        steps=steps,
        tree=outcome.tree,
        stop=outcome.stop,
        final_answer=outcome.final_answer,
        usage=environment.usage,
        simulator_usage=environment.simulator_usage,
        timing=environment.timing,
        error=outcome.error,
    )


async def _outcome(agent: Agent, task: Task, environment: Environment) -> Outcome:
    try:
        async with environment.time_limit(_GRACE_S):
            return await agent.solve(task, environment)
    except BudgetSpent as spent:
        answer = environment.answer  # an answer that was handed in before counts
        return Outcome(answer.stop, answer.final_answer) if answer else Outcome(spent.reason)
    except (StoreError, UsageError, RunStopped, KeyboardInterrupt, GeneratorExit):
        raise
    except (ServiceError, ModelUnavailableError, UnreadableReplyError) as problem:
        return _infrastructure(problem)
    except StbError as problem:
        return Outcome(StopReason.AGENT_ERROR, error=_line(problem.message))
    except Exception as problem:  # noqa: BLE001 - the user's code; one query must not stop the rest
        return Outcome(StopReason.AGENT_ERROR, error=_line(f"{type(problem).__name__}: {problem}"))
    except BaseException as problem:  # noqa: BLE001 - sys.exit(), say: it would end the whole run
        return Outcome(StopReason.AGENT_ERROR, error=_line(f"The agent's code raised {problem!r}."))


async def _refused(outcome: Outcome, environment: Environment) -> Outcome:
    """The outcome of a trial whose last request to the model was refused."""
    assert environment.refused
    stop = await stop_after_refusal(outcome.stop, environment.refused, environment.accepted)
    if stop is outcome.stop:
        return outcome
    return replace(outcome, stop=stop, final_answer="", error=_line(environment.refused.message))


def _infrastructure(fault: Exception) -> Outcome:
    """The outcome of a trial without a result.

    Raises:
        StoreError, RunStopped: the fault ends the whole run.
    """
    if isinstance(fault, StoreError | RunStopped):
        raise fault
    return Outcome(StopReason.INFRASTRUCTURE, error=_line(getattr(fault, "message", str(fault))))


def _line(text: str) -> str:
    return " ".join(str(mask_secrets(text)).split())[:_LONGEST_ERROR]
