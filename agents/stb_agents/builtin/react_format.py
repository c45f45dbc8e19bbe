"""The text protocol of ReAct (arXiv:2210.03629): what a model wrote → thought, action, arguments.

    Thought: what is known, and what to do next
    Action: the name of a function
    Action Input: its arguments as a JSON object

Models vary this form: they decorate the labels, leave out the thought, fence the JSON, write the call as
``name({...})``, continue with an observation that they made up, or end with ``Final Answer:``. All of that
is read, and nothing else is taken for a call. A label does not count within ``<think>``, within the JSON object
of ``Action Input``, or in a final answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass

from stb_core.values import FINISH
from stb_core.values.functions import GIVE_ANSWER, finish_name

OBSERVATION = "Observation"
STOP = (f"\n{OBSERVATION}:",)

# Underscores behind the colon belong to the label only where nothing follows them: a name may begin with one.
_LABEL = re.compile(
    r"^[ \t>*#_`-]*(Thought|Action[ _]?Input|Action|Observation|Final[ _]?Answer)[ \t*_`]*"
    r"[:\uff1a][ \t*`]*(?:_+(?=[ \t*`]|$)[ \t*`]*)?",
    re.IGNORECASE | re.MULTILINE,
)
# A <think> without an end counts only at the start of a reply: then the reply is all thinking.
_THINKING = re.compile(r"\A\s*<think>.*?(?:</think>|\Z)|<think>.*?</think>", re.DOTALL)
# When both are on one line, the label may have matched the fence as well.
_OPENING = re.compile(r"[\s*_`]*(?:(?<=`)[a-zA-Z]+\s*)?(?=\{)")
_FENCE = re.compile(r"\A```[a-zA-Z]*\s*\n?(.*?)\s*(?:```.*)?\Z", re.DOTALL)
_CALL = re.compile(r"\A([A-Za-z0-9_-]+)\s*(?:\(\s*)?(\{.*)\Z", re.DOTALL)
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_CONTROL = re.compile(r"[\x00-\x1f]")
_DECORATION = " \t\n`*\"'[]"  # without the underscore, because names may begin and end with it
_JSON = json.JSONDecoder(strict=False)


@dataclass(frozen=True)
class ReactTurn:
    """One turn of a model, parsed; ``action`` is None when it called nothing."""

    thought: str
    action: str | None = None
    arguments: str = ""


def parse_turn(text: str, known: Collection[str] = ()) -> ReactTurn:
    """The first action of a reply, with the thought before it; any text can be parsed.

    Args:
        text: the reply.
        known: names of functions; they tell a name in bold from one with underscores at its ends.
    """
    sections = _sections(_THINKING.sub("", text))
    thought = ""
    for number, (_, label, content) in enumerate(sections):
        if label in {"", "thought"}:
            thought = thought or content
        elif label == "observation":
            break
        elif label == "finalanswer":
            answer = {"return_type": GIVE_ANSWER, "final_answer": content}
            return ReactTurn(thought, FINISH, json.dumps(answer, ensure_ascii=False))
        elif label == "action":
            _, after, arguments = sections[number + 1] if number + 1 < len(sections) else (0, "", "")
            return _call(thought, content, arguments if after == "actioninput" else None, known)
    return ReactTurn(thought or text.strip())


def cut_observation(text: str) -> str:
    """The text up to an observation that the model made up; servers may ignore stop sequences."""
    blanked = _THINKING.sub(
        lambda thinking: " " * len(thinking[0]), text
    )  # positions in the text stay the same
    for place, label, _ in _sections(blanked):
        if label == "observation":
            return text[:place].rstrip()
    return text.rstrip()


def _sections(text: str) -> list[tuple[int, str, str]]:
    """Position, label and content of each section; text before the first label has the label ``""``."""
    found: list[tuple[int, str, str]] = []
    place, label, start, position = 0, "", 0, 0
    while match := _LABEL.search(text, position):
        name, position = _name(match[1]), match.end()
        if label == "finalanswer" and name != "observation":
            continue  # a line of the answer
        found.append((place, label, text[start : match.start()].strip()))
        place, label, start = match.start(), name, position
        opening = _OPENING.match(text, start) if name == "actioninput" else None
        if opening and (end := _end_of_object(text, opening.end())):
            start, position = opening.end(), end
    found.append((place, label, text[start:].strip()))
    return found if found[0][1:] != ("", "") else found[1:]


def _name(label: str) -> str:
    return label.lower().replace(" ", "").replace("_", "")


def _call(thought: str, action: str, arguments: str | None, known: Collection[str]) -> ReactTurn:
    """A call; its arguments follow ``Action Input``, or the name itself (``arguments`` is None)."""
    if arguments is None and (inline := _CALL.match(action.strip("`* "))):
        return ReactTurn(thought, _function(inline[1], known), _object(inline[2]))
    return ReactTurn(thought, _function(action, known), _object(arguments or ""))


def _function(written: str, known: Collection[str]) -> str:
    """The name in the first line; underscores at its ends are dropped only if that gives a known name."""
    lines = written.strip(_DECORATION).splitlines()
    name = lines[0].strip(_DECORATION).removesuffix("()") if lines else ""
    bare = name.strip(f"{_DECORATION}_").removesuffix("()")
    return finish_name(bare if name not in known and bare in known else name, known)


def _object(text: str) -> str:
    """The JSON object that a text begins with, or the text itself."""
    fenced = _FENCE.match(text.strip())
    inner = (fenced[1] if fenced else text).strip()
    if not inner.startswith("{"):
        return inner
    end = _end_of_object(inner, 0)
    return _escaped(inner[:end]) if end else inner


def _end_of_object(text: str, start: int) -> int | None:
    """Where the JSON object ends that begins at ``start``; None without one. Strings may hold raw line breaks."""
    try:
        return _JSON.raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return None


def _escaped(written: str) -> str:
    """JSON with the raw line breaks in its strings escaped; other JSON stays as it is."""
    return _STRING.sub(lambda s: _CONTROL.sub(lambda c: json.dumps(c[0])[1:-1], s[0]), written)
