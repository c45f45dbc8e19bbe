"""``/v1/episodes``: open an episode, call its tools, submit an answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from stb_server.calls import BadRequestError
from stb_server.episodes.requests import Call, Finish, Opening, Problem, ToolFormat
from stb_server.episodes.responses import addresses, call_view, episode_view, record_view, tools_view
from stb_server.episodes.service import EpisodeService
from stb_server.worker import ANYONE, CLIENT

_PROBLEMS = {
    400: "The request contradicts itself or the server's settings.",
    401: "The token is missing or belongs to another episode.",
    404: "There is no such dataset, query or snapshot.",
    409: "The episode has ended, its trial is taken, or the run has other settings.",
    413: "The body is too large.",
    422: "A member is missing or has the wrong type.",
    403: "The token may only read.",
    429: "Too many episodes are open, or too many calls come from this client.",
    503: "The store does not answer; nothing was done.",
}


class _TypedRoute(APIRoute):
    """A route that reports an invalid body in the same form as all other errors."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def typed(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as problem:
                first = problem.errors()[0]
                # Names of union members are of no use to people.
                names = [str(part) for part in first["loc"]]
                place = ".".join(name for name in names if name.isidentifier() or name.isdecimal())
                raise BadRequestError(422, "wrong_form", f"{place}: {first['msg']}.") from None
            except HTTPException as problem:
                raise BadRequestError(problem.status_code, "not_json", f"{problem.detail}.") from None

        return typed


router = APIRouter(
    prefix="/v1/episodes",
    tags=["episodes"],
    route_class=_TypedRoute,
    responses={status: {"model": Problem, "description": text} for status, text in _PROBLEMS.items()},
)

FormatParameter = Annotated[ToolFormat, Query(alias="format", description="Format of the tools.")]
EpisodeIdParameter = Annotated[str, Path(min_length=1, max_length=40, pattern=r"^[^\x00]*$")]


def _episodes(request: Request) -> EpisodeService:
    episodes: EpisodeService = request.app.state.episodes
    return episodes


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _token(request: Request) -> str:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


@router.post("", status_code=201)
async def open_episode(
    request: Request, opening: Opening, form: FormatParameter = "openai"
) -> dict[str, Any]:
    """Open an episode: one attempt at one query.

    The answer has its ``token``, which is shown only once, and its ``tools``. ``mcp_url`` offers the same
    tools over MCP, and ``proxy_url`` records an agent's model calls.
    """
    episodes, client = _episodes(request), request.scope.get(CLIENT, ANYONE)
    episodes.worker.slow_down(client, _address(request), monotonic())
    episode, token = await episodes.open(opening, client.name or _address(request))
    return {
        **episode_view(episode),
        "token": token,
        **_addresses(request, token),
        **tools_view(await episodes.functions(episode), form),
    }


@router.get("/{episode_id}")
async def show_episode(
    request: Request, episode_id: EpisodeIdParameter, form: FormatParameter = "openai"
) -> dict[str, Any]:
    """Get the state of an episode and all its steps: enough to continue after a lost connection."""
    episodes, token = _episodes(request), _token(request)
    episode = await episodes.find(token, episode_id)
    record = await episodes.worker.resources.store.episode_records.record(episode)
    tools = tools_view(await episodes.functions(episode), form) if episode.stop is None else {}
    return {**episode_view(episode), **_addresses(request, token), **record_view(record), **tools}


@router.post("/{episode_id}/calls")
async def make_call(request: Request, episode_id: EpisodeIdParameter, call: Call) -> JSONResponse:
    """Call a function with a name and arguments as a model wrote them.

    ``observation`` is what the agent should see, also for a miss, for a function that was not offered and
    for invalid arguments. ``Finish`` is a function like any other; it ends the episode.
    """
    episodes = _episodes(request)
    episode = await episodes.find(_token(request), episode_id)
    episodes.worker.slow_down(episodes.client_of(episode), _address(request), monotonic())
    called = await episodes.call(episode, call.name, arguments_of(call), call.call_id)
    headers = {
        "X-STB-Provenance": called.step.provenance,
        "X-STB-Key": called.step.key,
        "X-STB-Cache": called.tier,
        "X-STB-Error": called.kind,
    }
    return JSONResponse(call_view(called), headers={name: value for name, value in headers.items() if value})


@router.post("/{episode_id}/finish")
async def finish_episode(request: Request, episode_id: EpisodeIdParameter, end: Finish) -> dict[str, Any]:
    """Submit an answer, or give up with null. Submitting the same answer again is allowed."""
    episodes = _episodes(request)
    episode = await episodes.find(_token(request), episode_id)
    if "answer" not in end.model_fields_set:
        return episode_view(await episodes.finish_as_said(episode))
    return episode_view(await episodes.finish(episode, end.answer))


def arguments_of(call: Call) -> str:
    """The arguments as text, as a model writes them."""
    if isinstance(call.arguments, str):
        return call.arguments
    return json.dumps(call.arguments or {}, ensure_ascii=False)


def _addresses(request: Request, token: str) -> dict[str, str | None]:
    return addresses(str(request.base_url), token, proxy=bool(_episodes(request).worker.options.proxy))
