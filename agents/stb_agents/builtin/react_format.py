"""The text protocol of ReAct (arXiv:2210.03629): what a model wrote → thought, action, arguments.

    Thought: what is known, and what to do next
    Action: the name of a function
    Action Input: its arguments as a JSON object

Models bend this form: they decorate the labels, leave the thought out, fence the JSON, write the call
as ``name({...})``, go on with an observation of their own making, or end with ``Final Answer:``. All of
that is read; what is no call is none. What looks like a label is none within ``<think>``, within the JSON
object of ``Action Input``, and in a final answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass

from stb_core.values.functions import GIVE_ANSWER
from stb_core.values.trajectories import FINISH

OBSERVATION = "Observation"
STOP = (f"\n{OBSERVATION}:",)

# Underscores behind the colon belong to the label only where nothing follows them: a name may begin with one.
_LABEL = re.compile(
    r"^[ \t>*#_`-]*(Thought|Action[ _]?Input|Action|Observation|Final[ _]?Answer)[ \t*_`]*"
    r"[:\uff1a][ \t*`]*(?:_+(?=[ \t*`]|$)[ \t*`]*)?",
    re.IGNORECASE | re.MULTILINE,
)
# Torn at the end of a reply, it began the reply: what stands behind it was never said.
_THINKING = re.compile(r"\A\s*<think>.*?(?:</think>|\Z)|<think>.*?</think>", re.DOTALL)
# The label may have taken the fence, when both are on one line.
_OPENING = re.compile(r"[\s*_`]*(?:(?<=`)[a-zA-Z]+\s*)?(?=\{)")
_FENCE = re.compile(r"\A```[a-zA-Z]*\s*\n?(.*?)\s*(?:```.*)?\Z", re.DOTALL)
_CALL = re.compile(r"\A([A-Za-z0-9_-]+)\s*(?:\(\s*)?(\{.*)\Z", re.DOTALL)
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_CONTROL = re.compile(r"[\x00-\x1f]")
_DECORATION = " \t\n`*\"'[]"  # no underscore, which names may begin and end with
_JSON = json.JSONDecoder(strict=False)


@dataclass(frozen=True)
class Written:
    """What a model wrote in one turn; ``action`` is None when it called nothing."""

    thought: str
    action: str | None = None
    arguments: str = ""


def read(text: str, known: Collection[str] = ()) -> Written:
    """The first action of a reply, with the thought before it; never fails.

    Args:
        text: the reply.
        known: names of functions, which tell a name in bold from one with underscores at its ends.
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
            return Written(thought, FINISH, json.dumps(answer, ensure_ascii=False))
        elif label == "action":
            _, after, given = sections[number + 1] if number + 1 < len(sections) else (0, "", "")
            return _call(thought, content, given if after == "actioninput" else None, known)
    return Written(thought or text.strip())


def cut(text: str) -> str:
    """The text up to an observation that the model made up; servers may ignore stop sequences."""
    blanked = _THINKING.sub(lambda thinking: " " * len(thinking[0]), text)  # places stay what they are
    for place, label, _ in _sections(blanked):
        if label == "observation":
            return text[:place].rstrip()
    return text.rstrip()


def _sections(text: str) -> list[tuple[int, str, str]]:
    """Places of labels, labels, and what stands behind them; words before the first have the label ``""``."""
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


def _call(thought: str, action: str, given: str | None, known: Collection[str]) -> Written:
    """A call whose arguments stand behind ``Action Input``, or behind the name itself."""
    if given is None and (inline := _CALL.match(action.strip("`* "))):
        return Written(thought, _function(inline[1], known), _object(inline[2]))
    return Written(thought, _function(action, known), _object(given or ""))


def _function(written: str, known: Collection[str]) -> str:
    """The name in the first line; underscores at its ends are its own, unless it is known without them."""
    lines = written.strip(_DECORATION).splitlines()
    name = lines[0].strip(_DECORATION).removesuffix("()") if lines else ""
    bare = name.strip(f"{_DECORATION}_").removesuffix("()")
    return bare if name not in known and bare in known else name


def _object(text: str) -> str:
    """The JSON object that a text begins with, or the text itself."""
    fenced = _FENCE.match(text.strip())
    inner = (fenced[1] if fenced else text).strip()
    if not inner.startswith("{"):
        return inner
    end = _end_of_object(inner, 0)
    return _escaped(inner[:end]) if end else inner


def _end_of_object(text: str, start: int) -> int | None:
    """Where a JSON object ends that begins there; its strings may hold raw line breaks."""
    try:
        return _JSON.raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return None


def _escaped(written: str) -> str:
    """JSON with raw line breaks in its strings as JSON has them; other JSON stays as it is."""
    return _STRING.sub(lambda s: _CONTROL.sub(lambda c: json.dumps(c[0])[1:-1], s[0]), written)
