"""The text protocol of ReAct (arXiv:2210.03629): what a model wrote → thought, action, arguments.

    Thought: what is known, and what to do next
    Action: the name of a function
    Action Input: its arguments as a JSON object

Models bend this form: they decorate the labels, leave the thought out, fence the JSON, write the call
as ``name({...})``, go on with an observation of their own making, or end with ``Final Answer:``. All of
that is read; what is no call is none.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from stb_core.functions import GIVE_ANSWER
from stb_core.trajectories import FINISH

OBSERVATION = "Observation"
STOP = (f"\n{OBSERVATION}:",)

_LABEL = re.compile(
    r"^[ \t>*#_`-]*(Thought|Action[ _]?Input|Action|Observation|Final[ _]?Answer)[ \t*_`]*[:\uff1a][ \t*_`]*",
    re.IGNORECASE | re.MULTILINE,
)
_FENCE = re.compile(r"\A```[a-zA-Z]*\s*\n?(.*?)\s*(?:```.*)?\Z", re.DOTALL)
_CALL = re.compile(r"\A([A-Za-z0-9_-]+)\s*\(?\s*(\{.*)\Z", re.DOTALL)
_DECORATION = " \t\n`*_\"'[]"


@dataclass(frozen=True)
class Written:
    """What a model wrote in one turn; ``action`` is None when it called nothing."""

    thought: str
    action: str | None = None
    arguments: str = ""


def read(text: str) -> Written:
    """The first action of a reply, with the thought before it; never fails."""
    sections = _sections(text)
    thought = ""
    for number, (label, content) in enumerate(sections):
        if label in {"", "thought"}:
            thought = thought or content
        elif label == "observation":
            break
        elif label == "finalanswer":
            answer = {"return_type": GIVE_ANSWER, "final_answer": content}
            return Written(thought, FINISH, json.dumps(answer, ensure_ascii=False))
        elif label == "action":
            after = sections[number + 1] if number + 1 < len(sections) else ("", "")
            return _call(thought, content, after[1] if after[0] == "actioninput" else None)
    return Written(thought or text.strip())


def cut(text: str) -> str:
    """The text up to an observation that the model made up; servers may ignore stop sequences."""
    for match in _LABEL.finditer(text):
        if _name(match[1]) == "observation":
            return text[: match.start()].rstrip()
    return text.rstrip()


def _sections(text: str) -> list[tuple[str, str]]:
    """Labels with what stands behind them; words before the first label have the label ``""``."""
    found: list[tuple[str, str]] = []
    label, start = "", 0
    for match in _LABEL.finditer(text):
        found.append((label, text[start : match.start()].strip()))
        label, start = _name(match[1]), match.end()
    found.append((label, text[start:].strip()))
    return found if found[0] != ("", "") else found[1:]


def _name(label: str) -> str:
    return label.lower().replace(" ", "").replace("_", "")


def _call(thought: str, action: str, given: str | None) -> Written:
    """A call whose arguments stand behind ``Action Input``, or behind the name itself."""
    if given is None and (inline := _CALL.match(action.strip("`* "))):
        return Written(thought, inline[1], _object(inline[2]))
    name = action.strip(_DECORATION).splitlines()[0].strip(_DECORATION) if action.strip(_DECORATION) else ""
    return Written(thought, name.removesuffix("()"), _object(given or ""))


def _object(text: str) -> str:
    """The JSON object that a text begins with, or the text itself."""
    fenced = _FENCE.match(text.strip())
    inner = (fenced[1] if fenced else text).strip()
    if not inner.startswith("{"):
        return inner
    try:
        _, end = json.JSONDecoder().raw_decode(inner)
    except (ValueError, RecursionError):
        return inner
    return inner[:end]
