"""A small world for agents: two tools, three APIs, eight queries in two groups, recorded answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import virtual_server
from stb_agents.environment.budget import BudgetSpent
from stb_agents.environment.environment import Environment
from stb_agents.environment.server_client import VirtualClient
from stb_core.store import Store
from stb_core.store.datasets import Dataset
from stb_core.store.responses import Response
from stb_core.values.calls import ToolCall
from stb_core.values.functions import Functions, OfferedApi
from stb_core.values.provenance import Provenance
from stb_core.values.queries import Query
from stb_core.values.tools import ApiRef, ToolDocument
from stb_core.values.trajectories import StopReason
from stb_server.worker.options import ServerOptions

CITIES = ("Velmora", "Osterby", "Tillstad", "Quernmouth")

SKY = ToolDocument.model_validate(
    {
        "category": "Weather",
        "tool_name": "Sky Watch",
        "tool_description": "Weather everywhere.",
        "api_list": [
            {
                "name": "Current",
                "description": "The weather now.",
                "required_parameters": [{"name": "city", "type": "STRING", "default": "Harborfield"}],
            },
            {
                "name": "Forecast",
                "required_parameters": [{"name": "city", "type": "STRING", "default": "Harborfield"}],
                "optional_parameters": [{"name": "days", "type": "NUMBER", "default": 1}],
            },
        ],
    }
)
INNS = ToolDocument.model_validate(
    {
        "category": "Travel",
        "tool_name": "Inns",
        "api_list": [
            {
                "name": "Search",
                "required_parameters": [{"name": "city", "type": "STRING", "default": "Harborfield"}],
            }
        ],
    }
)
CURRENT = ApiRef("Weather", "sky_watch", "current")
FORECAST = ApiRef("Weather", "sky_watch", "forecast")
SEARCH = ApiRef("Travel", "inns", "search")

QUERIES = [
    *(
        Query(
            query_id=str(number),
            group="G1_instruction",
            text=f"What is the weather in {city}, and what will it be in the next 3 days?",
            apis=(CURRENT, FORECAST, SEARCH),
            relevant_apis=(CURRENT, FORECAST),
        )
        for number, city in enumerate(CITIES)
    ),
    *(
        Query(
            query_id=str(10 + number),
            group="G3_instruction",
            text=f"Search the inns in {city}.",
            apis=(SEARCH, CURRENT),
            relevant_apis=(SEARCH,),
        )
        for number, city in enumerate(CITIES)
    ),
]


def recorded(ref: ApiRef, response: Any, error: str = "", **arguments: Any) -> Response:
    call = ToolCall(*ref, arguments)
    return Response(
        key=call.key,
        category=call.category,
        tool=call.tool,
        api=call.api,
        arguments=call.canonical_arguments,
        body=json.dumps({"error": error, "response": response}).encode(),
        provenance=Provenance.RECORDED,
    )


RESPONSES = [
    response
    for number, city in enumerate(CITIES)
    for response in (
        recorded(CURRENT, {"city": city, "degrees": 10 + number}, city=city),
        recorded(FORECAST, {"city": city, "rain": ["no", "yes", "no"], "wind": number}, city=city, days=3),
        recorded(SEARCH, {"inns": [{"inn_id": f"I-{number}", "name": f"The {city} Arms"}]}, city=city),
    )
]


async def put_world(store: Store, name: str = "world") -> Dataset:
    """The world as a dataset of the store."""
    dataset = await store.datasets.create(name)
    async with store.writing() as connection:
        await store.datasets.put_tools(connection, dataset.id, [SKY, INNS])
        await store.datasets.put_queries(connection, dataset.id, QUERIES)
        await store.datasets.set_content_hash(connection, dataset.id, "c" * 64)
    await store.responses.keep(dataset.id, RESPONSES)
    return await store.datasets.get(name)


@asynccontextmanager
async def serving(url: str) -> AsyncGenerator[str]:
    """The address of a server of that store's world, while the block lasts."""
    async with virtual_server.running(ServerOptions(database_url=url, dataset="world")) as server:
        yield server.url


def functions_of(query: Query) -> Functions:
    documents = {
        ApiRef(tool.category, tool.standard_name, api.standard_name): (api, tool.tool_description)
        for tool in (SKY, INNS)
        for api in tool.api_list
    }
    return Functions(OfferedApi(ref, *documents[ref]) for ref in query.apis)


def environment_of(client: VirtualClient, query: Query = QUERIES[0], **options: Any) -> Environment:
    return Environment(functions_of(query), client, **options)


class EndingWhen(Environment):
    """An environment whose time is up when a condition holds, however busy the machine is."""

    is_over: Callable[[], bool]

    @asynccontextmanager
    async def time_limit(self, grace_s: float = 0.0) -> AsyncGenerator[None]:
        """As in an environment, without its clock; the grace is long enough for a slow machine."""
        limit = asyncio.timeout(None)

        async def watch() -> None:
            while not self.is_over():  # noqa: ASYNC110 - what it looks at has no event
                await asyncio.sleep(0.005)
            limit.reschedule(asyncio.get_running_loop().time() + grace_s * 20)

        watching = asyncio.create_task(watch())
        try:
            async with limit:
                yield
        except TimeoutError:
            raise BudgetSpent(StopReason.MAX_SECONDS) from None
        finally:
            watching.cancel()
            if limit.expired():
                self.meter.over(StopReason.MAX_SECONDS)


def ending_when(client: VirtualClient, is_over: Callable[[], bool], **options: Any) -> EndingWhen:
    environment = EndingWhen(functions_of(QUERIES[0]), client, **options)
    environment.is_over = is_over
    return environment
