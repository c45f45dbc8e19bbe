"""The OpenAI Agents SDK over MCP: the agent's tools are those of a query, and its answer goes to ``Finish``.

After ``Finish`` the SDK asks its model once more; the server's proxy answers that in the model's place.

Start a server with ``stb serve --dataset demo --proxy openai``, then run
``python examples/openai_agents_mcp.py --group G1_tool --run openai-agents --model gpt-4o-mini``.
"""

from __future__ import annotations

from typing import Any

from agents.exceptions import AgentsException
from agents.mcp import MCPServerStreamableHttp
from each_query import INSTRUCTIONS, main
from openai import AsyncOpenAI

from agents import Agent, OpenAIChatCompletionsModel, Runner, set_tracing_disabled


async def play(episode: dict[str, Any], model: str) -> str | None:
    """Let an agent work on one query; returns its last message, or None if it did not finish."""
    async with (
        AsyncOpenAI(base_url=episode["proxy_url"]) as client,
        MCPServerStreamableHttp(params={"url": episode["mcp_url"]}, cache_tools_list=True) as tools,
    ):
        agent = Agent(
            name="assistant",
            instructions=INSTRUCTIONS,
            mcp_servers=[tools],
            model=OpenAIChatCompletionsModel(model, openai_client=client),
        )
        try:
            return str((await Runner.run(agent, episode["query"], max_turns=12)).final_output)
        except AgentsException as problem:
            print(f"query {episode['query_id']}: {problem}")
            return None


if __name__ == "__main__":
    set_tracing_disabled(disabled=True)
    main("openai-agents", play)
