"""The progress of a run on stderr: a bar in a terminal, elsewhere a plain line from time to time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from rich.progress import Progress

from stb_core.cli import console
from stb_core.llm import REFUSED
from stb_core.store import Run
from stb_core.usage import Usage
from stb_core.values import Provenance, StopReason, Trajectory, count_noun

FAILURES = frozenset({StopReason.INFRASTRUCTURE, StopReason.AGENT_ERROR, *REFUSED})
"""Why a trial stopped that did not end as its agent meant it to."""

_LINE_EVERY_S = 30.0


class RunProgress:
    """Trials that are done and left, with what this session did: tokens and cost, failures and misses.

    Args:
        progress: where the bar is shown.
        run: whose trials are counted.
        n_done: how many had results before this session.
    """

    def __init__(self, progress: Progress, run: Run, n_done: int) -> None:
        self._progress = progress
        self._run = run
        self._task = progress.add_task(run.run, total=run.n_expected, completed=n_done, note="")
        self._usage = Usage()
        self._n_before = n_done
        self._n_now = self._n_failed = self._n_misses = 0
        self._began = time.monotonic()
        self._is_waiting = False

    def advance(self, trajectory: Trajectory) -> None:
        """Count one more trial."""
        self._n_now += 1
        self._n_failed += trajectory.stop in FAILURES
        self._n_misses += sum(step.provenance == Provenance.MISS for step in trajectory.all_steps)
        self._usage += trajectory.usage
        cost = "" if self._usage.cost_usd is None else f", ${self._usage.cost_usd:.2f}"
        note = f"{self._usage.total_tokens:,} tokens{cost}" if self._usage.model_calls else ""
        self._progress.update(self._task, advance=1, note=note)

    def wait_for(self, n: int) -> None:
        """Say once that this process has nothing to do until others end, and show how far they are."""
        self._progress.update(self._task, completed=self._run.n_expected - n)
        if not self._is_waiting:
            self._is_waiting = True
            console.print_note(f"Waiting for {count_noun(n, 'trial')} that other processes are doing.")

    @property
    def line(self) -> str:
        """The progress as one plain line."""
        minutes = (time.monotonic() - self._began) / 60
        rate = f"{self._n_now / minutes:.1f}" if minutes else "0.0"
        return (
            f"{self._run.run}: {self._n_before + self._n_now:,} of {self._run.n_expected:,} trials done,"
            f" {rate} per minute, {self._n_failed:,} failed, {self._n_misses:,} misses"
        )

    async def tell(self) -> None:
        """Print the line again and again."""
        while True:
            await asyncio.sleep(_LINE_EVERY_S)
            console.print_note(self.line)


@asynccontextmanager
async def shown_progress(run: Run, n_done: int, *, quiet: bool) -> AsyncGenerator[RunProgress]:
    """The progress of a run while the block runs; shown nowhere if ``quiet``."""
    with console.progress(quiet=quiet) as bar:
        progress = RunProgress(bar, run, n_done)
        telling = asyncio.create_task(progress.tell()) if bar.disable and not quiet else None
        try:
            yield progress
        finally:
            if telling:
                telling.cancel()
                await asyncio.wait({telling})
