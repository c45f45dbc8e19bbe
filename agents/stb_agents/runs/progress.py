"""The progress of a run on stderr."""

from __future__ import annotations

from rich.progress import Progress, TaskID

from stb_core.store.runs import Run
from stb_core.usage import Usage
from stb_core.values.trajectories import Trajectory


class Bar:
    """Trials done and left, with the tokens and the cost of this session."""

    def __init__(self, progress: Progress, run: Run) -> None:
        self._progress = progress
        self._run = run
        self._task = TaskID(0)
        self._usage = Usage()

    def start(self, done: int) -> None:
        """Show how many trials are done already."""
        self._task = self._progress.add_task(
            self._run.run, total=self._run.n_expected, completed=done, note=""
        )

    def advance(self, trajectory: Trajectory) -> None:
        """One trial more."""
        self._usage += trajectory.usage
        cost = "" if self._usage.cost_usd is None else f", ${self._usage.cost_usd:.2f}"
        note = f"{self._usage.total_tokens:,} tokens{cost}" if self._usage.model_calls else ""
        self._progress.update(self._task, advance=1, note=note)
