"""``/e/{token}/mcp``: an episode as an MCP server over streamable HTTP, by the official SDK.

It offers the tools of the episode's query and ``Finish``, and nothing else. It keeps no sessions, so any
worker can answer any request, and clients of the 2025 and 2026 protocols are served alike. The SDK comes
with the extra ``mcp`` and is imported for the first client.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
from importlib.metadata import version
from time import monotonic
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from stb_core.errors import StoreError
from stb_core.values import FINISH, CacheMode, Episode
from stb_core.values.provenance import Source
from stb_server.calls import BadRequestError
from stb_server.episodes.service import EpisodeService
from stb_server.worker import Client

if TYPE_CHECKING:
    from mcp.server import ServerRequestContext
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
    from mcp_types import CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams

_log = logging.getLogger(__name__)

MCP_PATHS = tuple(
    path + slash for path in ("/e/{token}/mcp", "/mcp/e/{token}", "/mcp/e/{token}/mcp") for slash in ("", "/")
)
"""The first is the one that clients get. Some append ``/mcp`` to any address that does not end with it."""
_EPISODE = "stb_episode"
_HANDED_IN = "Done: the task is over."


class McpEndpoint:
    """The endpoint of one worker."""

    def __init__(self, episodes: EpisodeService) -> None:
        self._episodes = episodes
        self._manager: StreamableHTTPSessionManager | None = None
        self._starting = asyncio.Lock()
        self._running: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if importlib.util.find_spec("mcp") is None:
            text = "This server needs a package for MCP: pip install 'stabletoolbench[mcp]'."
            raise BadRequestError(501, "mcp_not_installed", text)
        try:
            episode = await self._episodes.find(scope["path_params"]["token"])
        except BadRequestError:
            # A 401 would make clients try to log in.
            raise BadRequestError(404, "unknown_episode", "There is no episode with this token.") from None
        if scope["method"] != "POST":  # without sessions there is nothing to listen to or to end
            text = "Only POST is supported here."
            refusal = JSONResponse({"error": text, "type": "not_allowed"}, 405, headers={"allow": "POST"})
            await refusal(scope, receive, send)
            return
        await self._take_turn(self._episodes.client_of(episode), (scope.get("client") or ("",))[0])
        manager = self._manager or await self._start()
        await manager.handle_request({**scope, _EPISODE: episode}, receive, send)

    async def _take_turn(self, client: Client, address: str) -> None:
        """Make a client that is too fast wait; a refusal would count as its agent's failure."""
        limit = client.limit or self._episodes.worker.rate_limit
        while True:
            wait_s = limit.wait_s(client.name or address, monotonic()) if limit else 0.0
            if not wait_s:
                return
            await asyncio.sleep(wait_s)

    async def close(self) -> None:
        """Stop the session manager."""
        self._ending.set()
        if self._running:
            await self._running

    async def _start(self) -> StreamableHTTPSessionManager:
        async with self._starting:
            if self._manager is None:
                manager = await asyncio.to_thread(self._made)
                ready = asyncio.Event()
                self._running = asyncio.create_task(self._run(manager, ready))
                await ready.wait()
                self._manager = manager
        return self._manager

    async def _run(self, manager: StreamableHTTPSessionManager, ready: asyncio.Event) -> None:
        async with manager.run():
            ready.set()
            await self._ending.wait()

    def _made(self) -> StreamableHTTPSessionManager:
        from mcp.server import Server, streamable_http_manager  # noqa: PLC0415 - comes with an extra

        return streamable_http_manager.StreamableHTTPSessionManager(
            Server(
                "stabletoolbench",
                version=version("stabletoolbench"),
                title="StableToolBench",
                on_list_tools=self._list_tools,
                on_call_tool=self._call_tool,
            ),
            stateless=True,
            json_response=True,
            max_request_body_size=self._episodes.worker.options.max_body_bytes,
        )

    async def _list_tools(
        self, context: ServerRequestContext[Any, Any], _: PaginatedRequestParams | None
    ) -> ListToolsResult:
        from mcp_types import ListToolsResult, Tool, ToolAnnotations  # noqa: PLC0415 - comes with an extra

        episode = _episode_of(context)
        functions = await self._episodes.functions(episode)
        # Some clients ask their user before each call of a tool that may change the world.
        hints = None
        if not self._reaches_real_apis(episode):
            hints = ToolAnnotations(destructive_hint=False, open_world_hint=False)
        return ListToolsResult(
            tools=[
                Tool(
                    name=schema.name,
                    description=schema.description,
                    input_schema=schema.parameters,
                    annotations=hints,
                )
                for schema in functions.schemas
            ]
        )

    def _reaches_real_apis(self, episode: Episode) -> bool:
        rules = CacheMode(episode.terms["mode"]).rules
        return self._episodes.worker.options.upstream is not None and Source.REAL_API in rules.sources

    async def _call_tool(
        self, context: ServerRequestContext[Any, Any], params: CallToolRequestParams
    ) -> CallToolResult:
        """Make a call; any problem is reported as an error of the tool."""
        from mcp_types import CallToolResult, TextContent  # noqa: PLC0415 - comes with an extra

        episode = _episode_of(context)
        arguments = json.dumps(params.arguments or {}, ensure_ascii=False)
        try:
            called = await self._episodes.call(episode, params.name, arguments)
        except BadRequestError as problem:
            text, failed, about = problem.message, True, {"type": problem.kind}
        except StoreError:
            _log.warning("a call over MCP could not be answered", extra={"episode": episode.id})
            text, failed, about = (
                "The store does not answer; try again later.",
                True,
                {"type": "store_unavailable"},
            )
        else:
            step = called.step
            is_over = step.function == FINISH and not step.error
            text, failed = _HANDED_IN if is_over else step.observation, bool(step.error)
            about = {name: value for name in ("provenance", "key") if (value := getattr(step, name))}
        content = TextContent(type="text", text=text)
        return CallToolResult(content=[content], is_error=failed, _meta=about)


def _episode_of(context: ServerRequestContext[Any, Any]) -> Episode:
    assert context.request
    episode: Episode = context.request.scope[_EPISODE]
    return episode
