"""From a request to the call that it means: resolves names, decodes arguments, makes the key."""

from __future__ import annotations

from dataclasses import dataclass

from stb_core.errors import CallError
from stb_core.values import (
    NULL_MEMBER,
    ApiRef,
    ToolCall,
    call_key,
    canonical_json,
    parse_arguments,
    standardize_api,
    standardize_category,
    standardize_tool,
    without_nulls,
)
from stb_server.calls.catalogue import Catalogue, Unknown
from stb_server.calls.documented_answers import Documents
from stb_server.calls.protocol import UNUSABLE_INPUT, VirtualRequest

# ToolBench's clients may offer this API under any tool. There is no server behind it:
# the virtual server itself answers with one sentence.
CHAT_WITH_USER = "chat_with_user"


async def as_given(call: ToolCall, dataset_id: int, documents: Documents) -> ToolCall:
    """The call without nulls for optional parameters, which are not given; the call itself if it has none.

    Raises:
        StoreError: the document of the API cannot be read.
    """
    if NULL_MEMBER not in call.canonical_arguments or None not in call.arguments.values():
        return call
    document = await documents(dataset_id, ApiRef(call.category, call.tool, call.api))
    if document is None:
        return call
    given = without_nulls(call.arguments, document)
    return call if given is call.arguments else ToolCall(call.category, call.tool, call.api, given)


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
