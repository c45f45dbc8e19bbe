"""The lines above the scores of a run that say when its trials measured something else than the agent.

``stb score``, ``compare`` and ``report`` print them; pages get them by the plug-in that ``stb_core.plugins``
names. To add a headline, write a function and add it to ``_HEADLINES``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stb_core.llm import REFUSED
from stb_core.store import Run
from stb_core.values import Provenance, StopReason
from stb_evaluator.scores.run_reader import RunReader
from stb_evaluator.scores.trial_facts import ScoredTrials, count_calls, shares_of

MISSES_FROM = 5.0
"""The share of misses, in percent of all calls, from which a headline says so."""


TRIALS_FROM = 5.0
"""The share of trials, in percent, from which a headline says that they ended in an unusual way."""
UNUSABLE_FROM = 50.0
"""The share of calls, in percent, from which a headline says that they could not be made; a weak agent has some."""
_OWN_END = frozenset(
    {
        StopReason.NO_FINISH,
        StopReason.REPLY_CUT,
        StopReason.GAVE_UP,
        StopReason.MAX_STEPS,
        StopReason.MAX_MODEL_CALLS,
        StopReason.MAX_TOKENS,
        StopReason.MAX_SECONDS,
        StopReason.MAX_COST,
        StopReason.MAX_REPEATS,
    }
)


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


def _refused(grounds: HeadlineGrounds) -> str:
    stops = Counter(trial.stop for trial in grounds.trials.values())
    found = {stop.value: stops[stop] for stop in REFUSED if stops[stop]}
    if not found:
        return ""
    listed = ", ".join(f"{name} {count}" for name, count in found.items())
    return (
        f"REFUSED: the model's endpoint refused the conversation in {sum(found.values())} of"
        f" {len(grounds.trials)} answers of {grounds.run.run}, which count as unsolved: {listed}."
    )


def _no_calls(grounds: HeadlineGrounds) -> str:
    silent = [trial for trial in grounds.trials.values() if trial.stop in _OWN_END and not trial.n_functions]
    if not _is_frequent(len(silent), grounds):
        return ""
    return (
        f"NO CALLS: in {len(silent)} of {len(grounds.trials)} answers of {grounds.run.run} no function was called"
        " and no answer given: the model may have written only words, or nothing. They count as unsolved. Check its"
        " endpoint's tool-call parser and the limit on tokens, or use --text-calls on or -a react."
    )


def _unusable_calls(grounds: HeadlineGrounds) -> str:
    made = sum(trial.n_functions for trial in grounds.trials.values())
    unusable = sum(trial.n_unusable for trial in grounds.trials.values())
    if not made or 100 * unusable / made < UNUSABLE_FROM:
        return ""
    return (
        f"UNUSABLE CALLS: {percent_in_words(100 * unusable / made)} of the calls of {grounds.run.run} could not be"
        " made: the function is unknown, or the arguments cannot be read. Check the endpoint's tool-call parser and"
        " the limit on tokens."
    )


def _agent_errors(grounds: HeadlineGrounds) -> str:
    n_errors = sum(trial.stop == StopReason.AGENT_ERROR for trial in grounds.trials.values())
    if not _is_frequent(n_errors, grounds):
        return ""
    return (
        f"AGENT ERRORS: the agent failed in {n_errors} of {len(grounds.trials)} answers of {grounds.run.run}, which"
        " count as unsolved. See stb show for its errors."
    )


def _expired(grounds: HeadlineGrounds) -> str:
    n_expired = sum(trial.stop == StopReason.EXPIRED for trial in grounds.trials.values())
    if not _is_frequent(n_expired, grounds):
        return ""
    return (
        f"EXPIRED: the agent left {n_expired} of {len(grounds.trials)} episodes of {grounds.run.run}, which count as"
        " unsolved. If its process died, run these again under another name."
    )


def _is_frequent(count: int, grounds: HeadlineGrounds) -> bool:
    """Whether so many of the run's own trials are worth a headline; imported ones do not say what their agent did."""
    return not grounds.run.manifest.imported_from and 100 * count >= TRIALS_FROM * max(1, len(grounds.trials))


_HEADLINES: Sequence[Callable[[HeadlineGrounds], str]] = (
    _refused,
    _no_calls,
    _unusable_calls,
    _agent_errors,
    _expired,
    _misses,
    _templates,
)
