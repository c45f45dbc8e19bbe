"""Where the published code departs from the rules, one named switch each.

The reference block has all of them at the published value, unless one is set otherwise:
``--block reference --switch sowr.identical=tie``. The faithful block has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stb_core.errors import UsageError

# Name: (our rule, the published code's way, any other way).
SWITCHES: Mapping[str, tuple[str, ...]] = {
    # A query without an answer: unsolved, or dropped from the denominator.
    "sopr.missing": ("unsolved", "dropped"),
    # A round that lacks a verdict: not scored and incomplete, or worth 0.
    "sopr.gaps": ("unscored", "zero"),
    # Whether an answer was given: by the structure of the last call, or by words in its text.
    "sopr.gate": ("structure", "words"),
    # Whether an answer is solved, in a comparison: by the pass verdicts, by judging both answers again for
    # every pair and round, or ignored.
    "sowr.verdicts": ("used", "rejudged", "ignored"),
    # Two answers that are the same: a tie, or a coin.
    "sowr.identical": ("tie", "coin"),
    # A pair is shown in both orders, or in one that a coin chooses.
    "sowr.order": ("both", "one"),
    # A query on which neither run wins: half a win, or none.
    "sowr.ties": ("half", "none"),
    # Text shown of an answer: as for SoPR, or 1,000 characters.
    "sowr.text": ("full", "cut"),
    # The grade of final-answer correctness: from its field, or from words anywhere in the reply.
    "fac.reading": ("field", "words"),
}

OURS: Mapping[str, str] = {name: values[0] for name, values in SWITCHES.items()}
PUBLISHED: Mapping[str, str] = {name: values[1] for name, values in SWITCHES.items()}


def set_switches(changes: Iterable[str]) -> dict[str, str]:
    """The published values with changes of the form ``name=value``.

    Raises:
        UsageError: there is no such switch or value.
    """
    found = dict(PUBLISHED)
    for change in changes:
        name, _, value = change.partition("=")
        if name not in SWITCHES:
            raise UsageError(f"There is no switch {name!r}.", hint=f"There are: {', '.join(SWITCHES)}.")
        if value not in SWITCHES[name]:
            raise UsageError(f"The switch {name} is {' or '.join(SWITCHES[name])}, not {value!r}.")
        found[name] = value
    return found
