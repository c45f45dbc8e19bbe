"""The progress of a run on stderr."""

from __future__ import annotations

from rich.progress import Progress

from stb_core.store import Run
from stb_core.usage import Usage
from stb_core.values import Trajectory


class RunProgress:
    """Trials that are done and left, with the tokens and the cost of this session.

    Args:
        progress: where it is shown.
        run: whose trials are counted.
        n_done: how many had results before this session.
    """

    def __init__(self, progress: Progress, run: Run, n_done: int) -> None:
        self._progress = progress
        self._task = progress.add_task(run.run, total=run.n_expected, completed=n_done, note="")
        self._usage = Usage()

    def advance(self, trajectory: Trajectory) -> None:
        """Count one more trial."""
        self._usage += trajectory.usage
        cost = "" if self._usage.cost_usd is None else f", ${self._usage.cost_usd:.2f}"
        note = f"{self._usage.total_tokens:,} tokens{cost}" if self._usage.model_calls else ""
        self._progress.update(self._task, advance=1, note=note)
