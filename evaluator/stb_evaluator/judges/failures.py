"""Tells the user which verdicts a session did not get, why, and whether asking again helps."""

from __future__ import annotations

from stb_core.cli import console
from stb_evaluator.judges.ask_many import JudgingTally


def report_failures(what: str, tally: JudgingTally) -> None:
    """Print on stderr how many verdicts are missing or failed, and why."""
    if tally.unavailable:
        console.print_note(
            f"{what}: {tally.unavailable} verdicts are missing, the judge was unavailable: {tally.last_problem}"
        )
    if tally.stopped:
        console.print_note(
            f"{what}: {tally.unasked} verdicts were not asked for: {tally.stopped} The same command goes on."
        )
    if tally.dropped:
        console.print_note(
            f"{what}: {tally.dropped} verdicts were given by another process meanwhile; those count."
        )
    if tally.errors:
        console.print_note(f"{what}: {_describe_errors(tally)}")


def _describe_errors(tally: JudgingTally) -> str:
    others = tally.errors - tally.lasting_errors
    advice = "Ask again with --retry-errors."
    if not others:
        advice = "The judge would refuse the same questions again."
    elif tally.lasting_errors:
        advice = f"Asking again with --retry-errors can help on {others} of them."
    most = ", most often" if len(tally.problems) > 1 else ""
    return f"the judge failed on {tally.errors} verdicts{most}: {tally.main_problem.rstrip('.')}. {advice}"
