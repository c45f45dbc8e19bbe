"""DATASET[:GROUP,…], a limit and ids say which queries are meant."""

from __future__ import annotations

import pytest

from agent_world import QUERIES, put_world
from stb_agents.runs.selection import Selection, select_queries
from stb_core.errors import NotFoundError, UsageError
from stb_core.store import Store
from stb_core.values.manifest import slug


def ids(selection: Selection) -> list[str]:
    return [query.query_id for query in selection.queries]


@pytest.mark.parametrize(
    ("spec", "limit", "only", "found"),
    [
        ("world", None, [], ["0", "1", "2", "3", "10", "11", "12", "13"]),
        ("world:G3_instruction", None, [], ["10", "11", "12", "13"]),
        ("world:G3_instruction,G1_instruction", 2, [], ["0", "1", "10", "11"]),
        ("world", None, ["12", "3"], ["3", "12"]),
        ("world", 1, ["12", "11"], ["11"]),
    ],
)
async def test_queries_are_chosen_in_their_order(
    sqlite_store: Store, spec: str, limit: int | None, only: list[str], found: list[str]
) -> None:
    """By group, then the first of each group, among the ids that were named."""
    await put_world(sqlite_store)

    assert ids(await select_queries(sqlite_store, spec, limit=limit, ids=only)) == found


async def test_a_group_may_hold_what_stands_between_groups(sqlite_store: Store) -> None:
    """Written alone it is found."""
    await put_world(sqlite_store)
    dataset = await sqlite_store.datasets.get("world")
    odd = QUERIES[0].model_copy(update={"group": "large, 1"})
    async with sqlite_store.writing() as connection:
        await sqlite_store.datasets.put_queries(connection, dataset.id, [odd])

    assert ("large, 1",) == (await select_queries(sqlite_store, "world:large, 1")).groups


async def test_a_selection_knows_the_documents_of_its_apis(sqlite_store: Store) -> None:
    """With the descriptions of their tools."""
    await put_world(sqlite_store)

    selection = await select_queries(sqlite_store, "world:G1_instruction", limit=1)

    assert [(api.ref.api, api.tool_description) for api in selection.offered(selection.queries[0])] == [
        ("current", "Weather everywhere."),
        ("forecast", "Weather everywhere."),
        ("search", ""),
    ]


@pytest.mark.parametrize(
    ("spec", "only", "message"),
    [
        ("word", [], r"There is no dataset 'word'\. Did you mean 'world'\? There are: world\."),
        ("world:G9", [], r"has no group 'G9'\. There are: G1_instruction, G3_instruction\."),
        ("world:G1_instruction", ["11", "0"], "There is no query 11 among those asked for"),
    ],
)
async def test_what_is_not_there_is_named(
    sqlite_store: Store, spec: str, only: list[str], message: str
) -> None:
    """With what is there."""
    await put_world(sqlite_store)

    with pytest.raises(NotFoundError, match=message):
        await select_queries(sqlite_store, spec, ids=only)


async def test_a_dataset_without_queries_cannot_be_run(sqlite_store: Store) -> None:
    """It says what to import."""
    await sqlite_store.datasets.create("bare")

    with pytest.raises(UsageError, match="has no queries"):
        await select_queries(sqlite_store, "bare")


def test_a_slug_holds_nothing_odd() -> None:
    """Letters, digits, dots, underscores and hyphens."""
    assert slug("meta/Llama 3.1:8b ") == "meta-Llama-3.1-8b"
