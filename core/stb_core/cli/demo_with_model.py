"""``stb demo --model``: the demo with a model that the user has, as agent and as judge."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from stb_core.cli import console
from stb_core.cli.subcommands import CommandRunner
from stb_core.errors import StbError

TASKS = ("101", "201", "301", "401", "501", "601")
"""The first query of each group."""
_WITHOUT_CALLS = "model-without-function-calls"


@dataclass(frozen=True)
class ModelDemo:
    """What the demo is asked to do with a model.

    ``agent`` is ``auto`` for ``cot`` if the model calls functions and ``react`` if not.
    """

    model: str
    agent: str = "auto"
    timeout_s: float | None = None

    @property
    def timeout_flags(self) -> tuple[str, ...]:
        """The time for one reply, as flags of the commands that ask the model."""
        return () if self.timeout_s is None else ("--model-timeout", f"{self.timeout_s:g}")


@dataclass(frozen=True)
class ModelDemoResult:
    """What came of it: doctor's findings on the model, the agent that was taken, and the rows of run and score."""

    findings: Sequence[Mapping[str, Any]]
    agent: str
    run: Mapping[str, Any]
    scores: Sequence[Mapping[str, Any]]
    run_s: float
    judge_s: float

    def document(self) -> dict[str, Any]:
        """The members of the JSON document."""
        return {
            "findings": self.findings,
            "agent": self.agent,
            "runs": [self.run["run"]],
            "rows": [self.run, *self.scores],
            "run_seconds": round(self.run_s, 1),
            "judge_seconds": round(self.judge_s, 1),
        }


async def demonstrate(steps: CommandRunner, demo: ModelDemo, dataset: str) -> ModelDemoResult:
    """Check the model, let it do the tasks on the imported dataset, and judge them with it.

    Raises:
        StbError: the model cannot be used, or a step failed; the message says what to do.
    """
    findings = await _check(steps, demo)
    agent = demo.agent
    if agent == "auto":
        agent = "react" if any(one["problem"] == _WITHOUT_CALLS for one in findings) else "cot"
    started = time.monotonic()
    async with steps.serving("--dataset", dataset, "--port", "0") as url:
        limits = ("--max-completion-tokens", "1024", "--max-model-calls", "15", "--max-repeats", "3")
        chosen = ("-a", agent, "-m", demo.model, "-d", dataset, "--task-ids", ",".join(TASKS))
        rows = await steps.run(
            *("run", *chosen, "--server", url, "--max-connections", "4", *limits, *demo.timeout_flags)
        )
    ran = time.monotonic()
    name = rows[-1]["run"]
    judging = ("--judge", demo.model, "--rounds", "1", "--no-anchors", "--max-connections", "4")
    scores = await steps.run("score", name, *judging, *demo.timeout_flags)
    return ModelDemoResult(findings, agent, rows[-1], scores, ran - started, time.monotonic() - ran)


async def _check(steps: CommandRunner, demo: ModelDemo) -> list[dict[str, Any]]:
    """What doctor finds about the model."""
    model = demo.model
    rows = await steps.run("doctor", "-m", model, "--judge", model, *demo.timeout_flags, may_fail=True)
    findings = [row for row in rows if row["check"].startswith("model")]
    for row in findings:
        if row["status"] == "failure":
            raise StbError(f"{model} cannot be used: {row['found']}.", hint=row["remedy"])
    return findings


def show_result(result: ModelDemoResult, demo: ModelDemo) -> None:
    """Print what was found, the score, and what it took."""
    for row in result.findings:
        click.echo(f"{row['status']}: {row['check']}: {row['found']}")
        if row["problem"]:
            click.echo(f"  {row['remedy']}")
    ran = result.run
    stops = ", ".join(f"{name} {count}" for name, count in ran["stops"].items())
    click.echo(f"{result.agent} with {demo.model}, {len(TASKS)} tasks: {stops}; {ran['n_calls']} calls.")
    total = next((row for row in reversed(result.scores) if row["block"] == "faithful"), None)
    if total is not None and total["value"] is not None:
        click.echo(
            f"Solvable pass rate: {total['value']:.1f} [{total['ci_low']:.1f}, {total['ci_high']:.1f}] in %, judged by"
            f" {demo.model} itself. NOT COMPARABLE with published scores: few tasks, and a model judges its own work."
        )
    tokens = ran["prompt_tokens"] + ran["completion_tokens"]
    cost = "unknown without [prices]" if ran["cost_usd"] is None else f"{ran['cost_usd']:.4f} USD"
    click.echo(
        f"Agent: {ran['model_calls']} model calls, {tokens:,} tokens, cost {cost}, {result.run_s:.0f} s."
        f" Judge: {result.judge_s:.0f} s."
    )
    if late := ran.get("timed_out_requests"):
        console.print_note(f"{late} requests got no reply in time: raise --model-timeout.")
    if ran.get("trials_with_written_calls"):
        console.print_note(
            "The model wrote its calls as text: use --agent react, or stb run --text-calls on."
        )
