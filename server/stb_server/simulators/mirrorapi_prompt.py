"""The request that MirrorAPI was trained on (arXiv:2503.20527), for its SFT and chain-of-thought variants.

The user message holds the document and the request, both in Python's notation of a dict, the
document with its seven members in their order. The models know the official system prompts best:
name your copy of one in the configuration. Without it, our own prompt asks for the same form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from stb_core import json_text
from stb_core.values import Message
from stb_server.simulators.documents import Subject
from stb_server.simulators.llm_prompt import prompt_text, visible


class Variant(StrEnum):
    """How the model was trained to answer."""

    SFT = "sft"
    COT = "cot"
    """It first writes how the API works (``mechanism_of_the_api``), which is not served."""


def prompt_name(variant: Variant) -> str:
    """The name of our own prompt for a variant."""
    return f"mirrorapi-{variant}-1"


def messages_of(
    api_doc: Mapping[str, Any],
    request: Mapping[str, Any],
    *,
    system: str,
    history: Sequence[Mapping[str, Any]] = (),
) -> tuple[Message, ...]:
    """System and user message; earlier calls of an episode, which training did not have, come between."""
    parts = [f"API doc:\n{dict(api_doc)}"]
    if history:
        lines = "\n".join(json_text.encode(entry).decode() for entry in history)
        parts.append(f"Earlier requests and responses:\n{lines}")
    parts.append(f"Request:\n{dict(request)}")
    return Message(role="system", content=system), Message(role="user", content="\n\n".join(parts))


def system_prompt(variant: Variant) -> str:
    """Our system prompt for a variant."""
    return prompt_text(prompt_name(variant)).strip()


def api_doc_of(subject: Subject) -> dict[str, Any]:
    """The document as training had it."""
    document = subject.document

    def parameters(kind: str) -> list[dict[str, Any]]:
        parameters_ = () if document is None else getattr(document, kind)
        return [
            {"name": p.name, "type": p.type, "description": p.description, "default": p.default}
            for p in parameters_
        ]

    return {
        "api_name": subject.ref.api if document is None else document.name,
        "api_description": "" if document is None else document.description,
        "required_parameters": parameters("required_parameters"),
        "optional_parameters": parameters("optional_parameters"),
        "tool_description": subject.tool_description,
        "tool_name": subject.tool_name,
        "tool_category": subject.ref.category,
    }


def request_of(subject: Subject, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The request as training had it, ``tool_input`` as JSON text."""
    return {
        "category": subject.ref.category,
        "tool_name": subject.tool_name,
        "api_name": subject.ref.api if subject.document is None else subject.document.name,
        "tool_input": json_text.encode(visible(arguments)).decode(),
        "strip": "filter",
    }
