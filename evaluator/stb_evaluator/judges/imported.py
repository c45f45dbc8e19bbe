"""``--judge imported:NAME``: the verdicts that a bundle or a file brought, foreign ones too."""

from __future__ import annotations

from collections.abc import Sequence

from stb_core.errors import UsageError
from stb_core.store import BroughtVerdicts

IMPORTED = "imported:"
_SUFFIX = ".zip"


def is_imported(judge: str) -> bool:
    """Whether a judge's name asks for verdicts by what brought them."""
    return judge.startswith(IMPORTED)


def find_brought(brought: Sequence[BroughtVerdicts], run: str, judge: str, metric: str) -> BroughtVerdicts:
    """Of the verdicts that files brought on a run, those that ``imported:SOURCE`` or ``imported:SOURCE/JUDGE`` asks for.

    Of several rubrics the one that came last counts.

    Raises:
        UsageError: nothing of that name brought verdicts, or those of several judges.
    """
    name = judge.removeprefix(IMPORTED)
    there = [one for one in brought if one.metric == metric]
    found = [one for one in there if name in {one.source, one.source.removesuffix(_SUFFIX)}]
    found = found or [one for one in there if name == f"{one.source}/{one.judge}"]
    if len({(one.judge, one.source) for one in found}) == 1:
        return found[-1]
    choices = ", ".join(dict.fromkeys(f"{IMPORTED}{one.source}/{one.judge}" for one in found or there))
    if found:
        raise UsageError(f"{judge} may mean several judges on {run}.", hint=f"Choose one of: {choices}.")
    raise UsageError(
        f"Nothing called {name!r} brought {metric} verdicts on {run}.",
        hint=f"There are: {choices}." if choices else "Import a bundle first: stb import BUNDLE.",
    )
