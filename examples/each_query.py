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


def main(agent: str, play: Callable[[dict[str, Any], str], Awaitable[str | None]]) -> None:
    """Read the command line and play.

    Args:
        agent: a name for the record.
        play: lets the agent work in an opened episode, with a model of that name; gives its last words,
            which are its answer where it has not called ``Finish``, or None to give up.
    """
    parser = argparse.ArgumentParser(description=f"Let {agent} play the queries of a group.")
    parser.add_argument("--server", default="http://127.0.0.1:8080")
    parser.add_argument("--dataset", default="demo")
    parser.add_argument("--group", required=True)
    parser.add_argument("--limit", type=int, default=10)
    parser.add_argument("--run", required=True)
    parser.add_argument("--model", required=True, help="of the provider that the server's proxy asks")
    asyncio.run(_play_all(agent, play, parser.parse_args()))


async def _play_all(agent: str, play: Any, given: argparse.Namespace) -> None:
    async with httpx.AsyncClient(base_url=given.server, timeout=60) as http:
        queries = await http.get(f"/v1/datasets/{given.dataset}/queries", params={"group": given.group})
        for query in queries.raise_for_status().json()["rows"][: given.limit]:
            asked = {
                "dataset": given.dataset,
                "group": given.group,
                "query_id": query["query_id"],
                "agent": agent,
                "run": given.run,
            }
            episode = (await http.post("/v1/episodes", json=asked)).raise_for_status().json()
            answer = await play(episode, given.model)
            path, headers = f"/v1/episodes/{episode['id']}", {"Authorization": f"Bearer {episode['token']}"}
            state = (await http.get(path, headers=headers)).raise_for_status().json()
            if state["status"] == "open":
                finished = await http.post(f"{path}/finish", json={"answer": answer}, headers=headers)
                state = finished.raise_for_status().json()
            print(f"query {query['query_id']}: {state['stop']}")
