"""A remote agent may make its calls itself, in an episode at the server, and finish there."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from agent_world import QUERIES, SEARCH, ending_when, environment_of, functions_of
from stb_agents.custom.remote import Remote
from stb_agents.environment.agent import Outcome, Task
from stb_agents.environment.budget import Budget
from stb_agents.environment.environment import Environment
from stb_agents.environment.server_client import VirtualClient
from stb_agents.runs.trial import run_trial
from stb_core.errors import FormatError
from stb_core.values.observations import ObservationStyle
from stb_core.values.trajectories import StopReason, Trajectory

TASK = Task(QUERIES[0])
CALL = {"name": "current_for_sky_watch", "arguments": {"city": "Velmora"}}
Reply = tuple[int, dict[str, Any]]


class Player:
    """An agent that is a web server; ``play`` is its code: from a turn's document to status and body."""

    def __init__(self) -> None:
        self.play: Callable[[dict[str, Any]], Reply] = lambda _: (200, {"answer": None})
        self.turns: list[dict[str, Any]] = []
        player = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                document = json.loads(self.rfile.read(int(self.headers["content-length"])))
                player.turns.append(document)
                status, body = player.play(document)
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/act"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def post(episode: dict[str, Any], path: str, body: dict[str, Any]) -> dict[str, Any]:
    """What the agent does in its episode."""
    headers = {"Authorization": f"Bearer {episode['token']}"}
    answer = httpx.post(f"{episode['url']}/{path}", json=body, headers=headers)
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


@pytest.fixture
def player() -> Generator[Player]:
    made = Player()
    yield made
    made.close()


@pytest.fixture
async def environment(client: VirtualClient) -> Environment:
    return environment_of(client, observations=ObservationStyle(40))


async def solve(player: Player, environment: Environment, play: Callable[[dict[str, Any]], Reply]) -> Outcome:
    player.play = play
    return await Remote(player.url).solve(TASK, environment)


async def trial_until(player: Player, client: VirtualClient, is_over: Callable[[], bool]) -> Trajectory:
    """A whole trial, whose time is up when the condition holds."""
    return await run_trial(Remote(player.url), TASK, ending_when(client, is_over), None)


async def test_it_calls_in_the_episode_and_answers_here(player: Player, environment: Environment) -> None:
    """What it did there is on record here, in order, as it saw it."""

    def play(document: dict[str, Any]) -> Reply:
        if not document["calls"]:
            return 200, {"calls": [CALL]}
        post(document["episode"], "calls", CALL)
        post(document["episode"], "calls", {"name": "invented"})
        return 200, {"answer": "Ten."}

    outcome = await solve(player, environment, play)

    assert (StopReason.ANSWERED, "Ten.") == (outcome.stop, outcome.final_answer)
    names = ["current_for_sky_watch", "current_for_sky_watch", "invented", "Finish"]
    assert names == [step.function for step in environment.steps]
    first, second, third, _ = environment.steps
    assert first.model_dump(exclude={"arguments"}) == second.model_dump(exclude={"arguments"})
    assert (True, 3) == (third.hallucinated, environment.meter.tool_calls)


async def test_it_finishes_in_the_episode(player: Player, environment: Environment) -> None:
    """And says so: its answer there is its answer."""

    def play(document: dict[str, Any]) -> Reply:
        post(document["episode"], "calls", CALL)
        post(document["episode"], "finish", {"answer": "Ten."})
        return 200, {"finished": True}

    outcome = await solve(player, environment, play)

    assert (StopReason.ANSWERED, "Ten.") == (outcome.stop, outcome.final_answer)
    assert ["current_for_sky_watch", "Finish"] == [step.function for step in environment.steps]


async def test_it_takes_its_time(player: Player, environment: Environment) -> None:
    """With 202 it is at work by itself, and done when its episode is."""

    def play(document: dict[str, Any]) -> Reply:
        threading.Timer(0.6, post, (document["episode"], "finish", {"answer": "Ten."})).start()
        return 202, {}

    outcome = await solve(player, environment, play)

    assert ("Ten.", 1) == (outcome.final_answer, len(player.turns))


async def test_budgets_hold_in_the_episode(player: Player, client: VirtualClient) -> None:
    """One that calls too often is ended as other agents are."""

    def call_thrice(document: dict[str, Any]) -> Reply:
        for _ in range(2):
            post(document["episode"], "calls", CALL)
        with pytest.raises(httpx.HTTPStatusError, match="409"):
            post(document["episode"], "calls", CALL)
        return 200, {"finished": True}

    calls = environment_of(client, budget=Budget(max_tool_calls=2))
    ended = await solve(player, calls, call_thrice)
    assert (StopReason.MAX_TOOL_CALLS, 2) == (ended.stop, len(calls.steps))


async def test_one_that_says_202_and_no_more_runs_out_of_time(player: Player, client: VirtualClient) -> None:
    """It was heard before, so it is slow and not dead."""
    player.play = lambda document: (202, {}) if document["calls"] else (200, {"calls": [CALL]})

    trajectory = await trial_until(player, client, lambda: len(player.turns) > 1)

    assert StopReason.MAX_SECONDS is trajectory.stop


@pytest.mark.parametrize("calls", [0, 1])
async def test_one_that_works_in_its_episode_is_not_silent(
    player: Player, client: VirtualClient, calls: int
) -> None:
    """What it did there is on record; one that did nothing there and said nothing may be dead."""
    over = threading.Event()
    begun = threading.Event()

    def play(document: dict[str, Any]) -> Reply:
        for _ in range(calls):
            post(document["episode"], "calls", CALL)
        begun.set()
        over.wait(60)
        return 200, {"answer": "Too late."}

    player.play = play
    trajectory = await trial_until(player, client, begun.is_set)
    over.set()

    stop = StopReason.MAX_SECONDS if calls else StopReason.INFRASTRUCTURE
    assert (stop, calls) == (trajectory.stop, len(trajectory.steps))


async def test_an_episode_that_is_open_is_not_finished(player: Player, environment: Environment) -> None:
    """Whatever its agent says; and it is closed when the trial is over."""
    with pytest.raises(FormatError, match="says that it has finished, but has finished no episode"):
        await solve(player, environment, lambda _: (200, {"finished": True}))

    (document,) = player.turns
    episode = document["episode"]
    headers = {"Authorization": f"Bearer {episode['token']}"}
    async with httpx.AsyncClient(headers=headers) as http:
        shown = (await http.get(episode["url"])).json()
    assert ("ended", None) == (shown["status"], shown["run"])


async def test_other_functions_than_the_querys_are_called_here(player: Player, client: VirtualClient) -> None:
    """As those that were retrieved: the server's episode would offer those of the query."""
    offered = functions_of(QUERIES[0].model_copy(update={"apis": (SEARCH,)}))
    await solve(player, Environment(offered, client), lambda _: (200, {"answer": "Ten."}))

    assert "episode" not in player.turns[0]
