"""LangGraph over MCP: a graph of a model and the tools of a query.

Start a server with ``stb serve --dataset demo --proxy openai``, then run
``python examples/langgraph_mcp.py --group G1_tool --run langgraph --model gpt-4o-mini``.
"""

from __future__ import annotations

from typing import Any

from each_query import INSTRUCTIONS, main
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import StructuredTool, ToolException
from langchain_openai import ChatOpenAI
from langgraph.errors import GraphRecursionError
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from mcp.client import Client


async def langchain_tools(client: Client) -> list[StructuredTool]:
    """The tools of an MCP server as LangChain's."""

    def made(name: str, description: str, schema: dict[str, Any]) -> StructuredTool:
        async def call(**arguments: Any) -> str:
            result = await client.call_tool(name, arguments)
            text = "".join(part.text for part in result.content if part.type == "text")
            if result.is_error:
                raise ToolException(text)
            return text

        return StructuredTool(
            name=name, description=description, args_schema=schema, coroutine=call, handle_tool_error=True
        )

    listed = await client.list_tools()
    return [made(tool.name, tool.description or "", tool.input_schema) for tool in listed.tools]


def graph_of(model: ChatOpenAI, tools: list[StructuredTool]) -> Any:
    """Ask the model and make its calls, until it makes none.

    After ``Finish`` the server's proxy answers in the model's place, and makes no call.
    """
    bound = model.bind_tools(tools)

    async def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await bound.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("ask", ask)
    graph.add_node("tools", ToolNode(tools))
    graph.add_edge(START, "ask")
    graph.add_conditional_edges("ask", tools_condition)
    graph.add_edge("tools", "ask")
    return graph.compile()


async def play(episode: dict[str, Any], model: str) -> str | None:
    """Let the graph work on one query; returns its last message, or None if it did not finish."""
    async with Client(episode["mcp_url"]) as client:
        chat = ChatOpenAI(model=model, base_url=episode["proxy_url"])
        graph = graph_of(chat, await langchain_tools(client))
        opening = [SystemMessage(INSTRUCTIONS), HumanMessage(episode["query"])]
        try:
            state = await graph.ainvoke({"messages": opening}, {"recursion_limit": 24})
        except GraphRecursionError as problem:
            print(f"query {episode['query_id']}: {problem}")
            return None
        return str(state["messages"][-1].content)


if __name__ == "__main__":
    main("langgraph", play)
