"""From a request to a call: the same call from any notation, no call from anything else."""

from __future__ import annotations

import json
import random

from hypothesis import given
from hypothesis import strategies as st

from stb_core.values.calls import ToolCall
from stb_core.values.tools import ApiRef
from stb_server.calls.catalogue import Catalogue
from stb_server.calls.identify import Refusal, identify
from stb_server.calls.protocol import VirtualRequest

CATALOGUE = Catalogue([ApiRef("Weather", "sky_watch", "current")])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=8,
)
ARGUMENTS = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), VALUES, max_size=5)


def asked(tool_input: object, tool: str = "Sky Watch") -> ToolCall | Refusal:
    return identify(VirtualRequest("Weather", tool, "Current", tool_input), CATALOGUE)  # type: ignore[arg-type]


@given(ARGUMENTS, st.randoms())
def test_key_order_white_space_and_notation_do_not_matter(arguments: dict, rng: random.Random) -> None:
    """An object, its text, and its text with other order, spaces and escapes have one key."""
    shuffled = dict(rng.sample(list(arguments.items()), len(arguments)))

    calls = [
        asked(arguments),
        asked(json.dumps(arguments)),
        asked(json.dumps(shuffled, indent=2, ensure_ascii=False)),
    ]

    assert all(isinstance(call, ToolCall) for call in calls)
    assert 1 == len({call.key for call in calls if isinstance(call, ToolCall)})


@given(st.text() | st.lists(st.integers()).map(json.dumps))
def test_any_text_gives_a_call_or_a_refusal(text: str) -> None:
    """No text makes it fail."""
    assert isinstance(asked(text), ToolCall | Refusal)


@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1))
def test_any_names_give_a_call_or_a_refusal(category: str, tool: str, api: str) -> None:
    """No name makes it fail."""
    assert isinstance(identify(VirtualRequest(category, tool, api, ""), CATALOGUE), ToolCall | Refusal)


def test_a_refusal_says_which_name_is_unknown() -> None:
    """Its kind is for programs, its message for the agent."""
    refusal = asked("", tool="Sea Watch")

    assert isinstance(refusal, Refusal)
    assert refusal.kind == "unknown_tool"
    assert "'Sea Watch'" in refusal.message
