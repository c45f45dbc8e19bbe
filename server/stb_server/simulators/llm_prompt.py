"""The prompt of the ``llm`` simulator: a versioned text file, filled with JSON alone.

What all calls of an API share comes first and the call last, so that an engine that caches prefixes
reads the document once. The same call against the same recordings gives the same bytes, whatever
was called before. Each value is one line of JSON, so none can break out of its place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from string import Template
from typing import Any

from stb_core import json_text
from stb_core.llm import Schema
from stb_core.values import Message
from stb_core.values.tools import Parameter
from stb_server.simulators.arguments import CREDENTIAL, NO_PROBLEMS, ArgumentProblems
from stb_server.simulators.documents import Subject
from stb_server.simulators.examples import Example

PROMPT = "api-1"
_USER_PART = "=== user ===\n"
_NONE = "none"
_MOST_DESCRIPTION = 4000
_MOST_SHAPE = 6000


@dataclass(frozen=True)
class PromptContents:
    """Everything that a prompt is made of; ``history`` is oldest first."""

    subject: Subject
    arguments: Mapping[str, Any]
    examples: Sequence[Example] = ()
    history: Sequence[Mapping[str, Any]] = ()
    problems: ArgumentProblems = NO_PROBLEMS
    shape: Schema | None = None


@cache
def prompt_text(name: str) -> str:
    """The text of a prompt file of this package."""
    return resources.files(__package__).joinpath("prompts", f"{name}.txt").read_text(encoding="utf-8")


@cache
def prompt_version(name: str) -> str:
    """The name of a prompt file with the beginning of its SHA-256: what identifies its wording."""
    return f"{name}@{hashlib.sha256(prompt_text(name).encode()).hexdigest()[:12]}"


def messages_of(occasion: PromptContents) -> tuple[Message, ...]:
    """System and user message."""
    system, user = prompt_text(PROMPT).split(_USER_PART)
    filled = Template(user).substitute(
        document=_document(occasion.subject),
        shape=_shape(occasion.shape),
        # The most similar example comes last, next to the call.
        examples="\n".join(example.text for example in reversed(occasion.examples)) or _NONE,
        history="\n".join(_encode(entry) for entry in occasion.history) or _NONE,
        call=_encode(_call(occasion)),
    )
    return Message(role="system", content=system.strip()), Message(role="user", content=filled.strip())


def _call(occasion: PromptContents) -> dict[str, Any]:
    call: dict[str, Any] = {"api": occasion.subject.ref.api, "arguments": visible(occasion.arguments)}
    if occasion.problems.wrong_type:
        call["arguments_of_the_wrong_type"] = list(occasion.problems.wrong_type)
    return call


def visible(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments sorted by name, without the credential that some clients put among them."""
    return {name: arguments[name] for name in sorted(arguments) if name != CREDENTIAL}


def _document(subject: Subject) -> str:
    document = subject.document
    described: dict[str, Any] = {
        "tool": subject.tool_name,
        "category": subject.ref.category,
        "tool_description": subject.tool_description[:_MOST_DESCRIPTION],
        "api": subject.ref.api,
    }
    if document is not None:
        described |= {
            "name": document.name,
            "description": document.description[:_MOST_DESCRIPTION],
            "method": document.method,
            "required_parameters": [_parameter(p) for p in document.required_parameters],
            "optional_parameters": [_parameter(p) for p in document.optional_parameters],
        }
    return _encode(described)


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.standard_name,
        "type": parameter.type,
        "description": parameter.description[:_MOST_DESCRIPTION],
        "default": parameter.default,
    }


def _shape(shape: Schema | None) -> str:
    if not shape:
        return "any JSON value"
    text = _encode(shape)
    return text if len(text) <= _MOST_SHAPE else "see the recorded answers"


def _encode(value: Any) -> str:
    return json_text.encode(value).decode()
