"""From a request to the call that it means: resolves names, decodes arguments, makes the key."""

from __future__ import annotations

from dataclasses import dataclass

from stb_core.errors import CallError
from stb_core.values import (
    ApiRef,
    ToolCall,
    call_key,
    canonical_json,
    parse_arguments,
    standardize_api,
    standardize_category,
    standardize_tool,
)
from stb_server.calls.catalogue import Catalogue, Unknown
from stb_server.calls.protocol import UNUSABLE_INPUT, VirtualRequest

# ToolBench's clients may offer this API under any tool. There is no server behind it:
# the virtual server itself answers with one sentence.
CHAT_WITH_USER = "chat_with_user"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that means no call; ``message`` is for the agent, ``kind`` for programs."""

    kind: str
    message: str


def identify(request: VirtualRequest, catalogue: Catalogue) -> ToolCall | Refusal:
    """The call that a request means, or why it does not mean one."""
    ref = catalogue.resolve(request.category, request.tool, request.api)
    if isinstance(ref, Unknown):
        if standardize_api(request.api.split("_for_", maxsplit=1)[0]) != CHAT_WITH_USER:
            return Refusal(f"unknown_{ref.what}", ref.message)
        ref = ApiRef(standardize_category(request.category), standardize_tool(request.tool), CHAT_WITH_USER)
    try:
        arguments = parse_arguments(request.tool_input)
        canonical = canonical_json(arguments)  # may refuse what decoding accepted
    except CallError as problem:
        return Refusal(UNUSABLE_INPUT, problem.message)
    call = ToolCall(*ref, arguments)
    # These are cached properties; setting them here avoids the lock that computing them would take.
    vars(call).update(canonical_arguments=canonical, key=call_key(*ref, canonical))
    return call
