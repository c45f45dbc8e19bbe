"""The lines above the scores of a run that say when its trials measured something else than the agent.

``stb score``, ``compare`` and ``report`` print them; pages get them by the plug-in that ``stb_core.plugins``
names. To add a headline, write a function and add it to ``_HEADLINES``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stb_core.store import Run
from stb_core.values import Provenance
from stb_evaluator.scores.run_reader import RunReader
from stb_evaluator.scores.trial_facts import ScoredTrials, count_calls, shares_of

MISSES_FROM = 5.0
"""The share of misses, in percent of all calls, from which a headline says so."""


@dataclass(frozen=True)
class HeadlineGrounds:
    """What a headline may rest on: the run, and its trials that count."""

    run: Run
    trials: ScoredTrials


async def run_headlines(reader: RunReader) -> list[str]:
    """The headlines of one run, the gravest first; empty if its trials raise no doubt."""
    grounds = HeadlineGrounds(reader.run, await reader.scored_trials())
    return [line for headline in _HEADLINES if (line := headline(grounds))]


async def beyond_recordings(reader: RunReader) -> str:
    """What answered calls of a run's scored trials besides recordings, and how many; "" if nothing did.

    A miss is no recording, and neither is an answer whose origin an import does not state.
    """
    calls = count_calls((await reader.scored_trials()).values())
    others = {name: count for name, count in sorted(calls.items()) if name != Provenance.RECORDED}
    if not others:
        return ""
    listed = ", ".join(f"{count} {name}" for name, count in others.items())
    return (
        f"NOT HERMETIC: {sum(others.values())} of the {calls.total()} calls of {reader.run.run} were not"
        f" answered by recordings: {listed}."
    )


def percent_in_words(share: float) -> str:
    """A share for a sentence: a part is never called 0 % or 100 %."""
    if 0 < share < 1:
        return "less than 1 %"
    if 99 < share < 100:
        return "more than 99 %"
    return f"{share:.0f} %"


def _misses(grounds: HeadlineGrounds) -> str:
    share = shares_of(count_calls(grounds.trials.values()))["miss"]
    if share is None or share < MISSES_FROM:
        return ""
    return (
        f"MISSES: {percent_in_words(share)} of the calls of {grounds.run.run} had no recording: this measures"
        " the recordings more than the agent."
    )


def _templates(grounds: HeadlineGrounds) -> str:
    share = shares_of(count_calls(grounds.trials.values()))["template"]
    if not share:
        return ""
    return (
        f"TEMPLATES: {percent_in_words(share)} of the answers to calls of {grounds.run.run} were made by rule"
        " from the API's document: they hold no facts."
    )


_HEADLINES: Sequence[Callable[[HeadlineGrounds], str]] = (_misses, _templates)
