"""Runs any agent that is a command, once for each query: it finds its episode in the environment.

The command gets ``QUERY``, ``MCP_URL`` and ``MODEL``, and its model's address as ``OPENAI_BASE_URL`` and
``ANTHROPIC_BASE_URL``. Start a server with ``stb serve --dataset demo --proxy openai``, then run
``python examples/any_command.py --group G1_tool --run mine --model gpt-4o-mini -- python my_agent.py``.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from each_query import parser, play_all


def main() -> None:
    """Read the command line and play."""
    flags = parser("Run a command for each query of a group.")
    flags.add_argument(
        "--finish", choices=["call", "text"], default="call", help="text: last words are the answer"
    )
    flags.add_argument("--answer-function", default="", help="the agent's own function for its answer")
    flags.add_argument("command", nargs="+", help="the agent, after --")
    given = flags.parse_args()

    async def play(episode: dict[str, Any], model: str) -> None:
        address = episode["proxy_url"]
        told = {
            "QUERY": episode["query"],
            "MCP_URL": episode["mcp_url"],
            "MODEL": model,
            "OPENAI_BASE_URL": address,
            "ANTHROPIC_BASE_URL": address.removesuffix("/v1"),
        }
        # The server's key is used where it has one, but most SDKs refuse to start without any.
        keys = {name: os.environ.get(name, "unused") for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY")}
        process = await asyncio.create_subprocess_exec(
            *given.command, env={**os.environ, **keys, **told}, stdin=asyncio.subprocess.DEVNULL
        )
        if code := await process.wait():
            print(f"query {episode['query_id']}: the command ended with {code}")

    text = {"finish": "text", "answer_function": given.answer_function} if given.finish == "text" else {}
    asyncio.run(play_all(given.run, play, given, **text))


if __name__ == "__main__":
    main()
