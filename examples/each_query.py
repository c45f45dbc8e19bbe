"""Runs an agent on the first queries of a group: opens an episode for each, and makes sure that it is finished."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

INSTRUCTIONS = (
    "Carry out the user's task with the tools. Then call Finish with return_type give_answer and the whole "
    "answer as final_answer, or with return_type give_up_and_restart if the tools cannot lead to one."
)


Play = Callable[[dict[str, Any], str], Awaitable[str | None]]


def main(agent: str, play: Play) -> None:
    """Read the command line and play.

    Args:
        agent: a name for the record.
        play: lets the agent work in an opened episode, with a model of that name; gives its last words,
            which are its answer where it has not called ``Finish``, or None to give up.
    """
    asyncio.run(play_all(agent, play, parser(f"Let {agent} play the queries of a group.").parse_args()))


def parser(about: str) -> argparse.ArgumentParser:
    """The flags that all these programs have."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--server", default="http://127.0.0.1:8080")
    parser.add_argument("--dataset", default="demo")
    parser.add_argument("--group", help="all groups by default")
    parser.add_argument("--limit", type=int, default=10)
    parser.add_argument("--run", required=True)
    parser.add_argument("--model", required=True, help="of the provider that the server's proxy asks")
    return parser


async def play_all(agent: str, play: Play, given: argparse.Namespace, **terms: Any) -> None:
    """Play the queries that the command line names; ``terms`` are further members for the opening of episodes."""
    async with httpx.AsyncClient(base_url=given.server, timeout=60) as http:
        only = {"group": given.group} if given.group else {}
        queries = await http.get(f"/v1/datasets/{given.dataset}/queries", params=only)
        for query in queries.raise_for_status().json()["rows"][: given.limit]:
            asked = {
                "dataset": given.dataset,
                "group": query["group"],
                "query_id": query["query_id"],
                "agent": agent,
                "run": given.run,
                **terms,
            }
            episode = (await http.post("/v1/episodes", json=asked)).raise_for_status().json()
            answer = await play(episode, given.model)
            path, headers = f"/v1/episodes/{episode['id']}", {"Authorization": f"Bearer {episode['token']}"}
            state = (await http.get(path, headers=headers)).raise_for_status().json()
            if state["status"] == "open":
                end = {} if answer is None and "finish" in terms else {"answer": answer}
                finished = await http.post(f"{path}/finish", json=end, headers=headers)
                state = finished.raise_for_status().json()
            print(f"query {query['query_id']}: {state['stop']}")
