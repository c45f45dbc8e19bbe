"""Searches find what is there, page by page, without looking at more than they may."""

from __future__ import annotations

import orjson
import pytest

from stb_core.store import Store
from stb_core.store.responses import Response
from stb_core.values.calls import ToolCall
from stb_core.values.provenance import Provenance
from stb_server.inspector import search as module
from stb_server.inspector.response_counts import ResponseCounter, ResponseCounts
from stb_server.inspector.search import PAGE, ResponseSearch, find_keys, search

N = 180


def response(number: int) -> Response:
    """One of many: two categories, six tools of two APIs, one in ten simulated."""
    call = ToolCall(f"Cat{number % 2}", f"tool_{number % 6}", f"api_{number % 12}", {"n": number})
    body = orjson.dumps({"error": "", "response": f"body {number} {'needle' if number % 30 == 7 else ''}"})
    provenance = Provenance.RECORDED if number % 10 else Provenance.SIMULATED
    return Response(
        call.key, *(call.category, call.tool, call.api), call.canonical_arguments, body, provenance
    )


@pytest.fixture
async def many(store: Store) -> tuple[int, ResponseCounts]:
    """The dataset's id and its count."""
    dataset = await store.datasets.create("many")
    await store.responses.keep(dataset.id, [response(number) for number in range(N)])
    tally, is_current = await ResponseCounter().get(store, await store.datasets.get("many"))
    assert tally
    assert is_current
    return dataset.id, tally


async def numbers(
    store: Store, dataset_id: int, wanted: ResponseSearch, tally: ResponseCounts | None
) -> list[int]:
    """All that a search finds, page by page, as the numbers of the responses."""
    found: list[int] = []
    after = 0
    while True:
        page = await search(store, dataset_id, wanted, tally, after=after)
        found += [orjson.loads(hit.arguments)["n"] for hit in page.hits]
        if not page.after:
            return found
        after = page.after


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (ResponseSearch(), range(N)),
        (ResponseSearch(category="Cat1"), range(1, N, 2)),
        (ResponseSearch(category="Cat0", tool="tool_4", api="api_10"), range(10, N, 12)),
        (ResponseSearch(name="TOOL_3"), range(3, N, 6)),
        (ResponseSearch(name="cat0 api_6"), range(6, N, 12)),
        (ResponseSearch(provenance="simulated"), range(0, N, 10)),
        (ResponseSearch(provenance="simulated", name="tool_0"), range(0, N, 30)),
        (ResponseSearch(text="needle"), range(7, N, 30)),
        (ResponseSearch(arguments='"n":17'), [17, *range(170, 180)]),
        (ResponseSearch(text="nothing of the kind"), []),
        (ResponseSearch(arguments="}", text="needle", name="tool_1"), range(7, N, 30)),
        (ResponseSearch(since="2000-01-01", before="2100-01-01", name="api_1 cat1 tool_1"), range(1, N, 12)),
        (ResponseSearch(before="2000-01-01"), []),
        (ResponseSearch(provenance="template"), []),
    ],
)
async def test_all_that_fits_is_found_once(
    store: Store, many: tuple[int, ResponseCounts], wanted: ResponseSearch, expected: range, counted: bool
) -> None:
    """Over all pages, with a count of the dataset to go by and without."""
    dataset_id, tally = many

    found = await numbers(store, dataset_id, wanted, tally if counted else None)

    assert sorted(expected) == sorted(found)


async def test_a_page_looks_at_no_more_than_it_may(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends early with the place from which to go on, and going on finds the rest."""
    monkeypatch.setattr(module, "MAX_EXAMINED", 40)
    dataset = await sqlite_store.datasets.create("many")
    await sqlite_store.responses.keep(dataset.id, [response(number) for number in range(N)])

    first = await search(sqlite_store, dataset.id, ResponseSearch(text="needle"), None)

    assert first.is_partial
    assert first.examined <= 40
    assert list(range(7, N, 30)) == sorted(
        await numbers(sqlite_store, dataset.id, ResponseSearch(text="needle"), None)
    )


async def test_pages_are_full_and_in_order(store: Store, many: tuple[int, ResponseCounts]) -> None:
    """Fifty a page, by category, tool and API."""
    dataset_id, tally = many

    first = await search(store, dataset_id, ResponseSearch(), tally)
    second = await search(store, dataset_id, ResponseSearch(), tally, after=first.after)

    refs = [hit.ref for hit in (*first.hits, *second.hits)]
    assert (PAGE, PAGE) == (len(first.hits), len(second.hits))
    assert refs == sorted(refs)


async def test_superseded_answers_are_not_found(store: Store, many: tuple[int, ResponseCounts]) -> None:
    """Only the version in force; and the beginning of a key leads to it."""
    dataset_id, tally = many
    old = response(3)
    await store.responses.keep(
        dataset_id,
        [
            Response(
                old.key,
                old.category,
                old.tool,
                old.api,
                old.arguments,
                b'{"error":"","response":"new"}',
                old.provenance,
            )
        ],
        supersede=True,
    )

    found = await search(
        store, dataset_id, ResponseSearch(category="Cat1", tool="tool_3", api="api_3"), tally
    )

    assert 1 == sum(hit.key == old.key for hit in found.hits)
    assert [old.key] == await find_keys(store, dataset_id, old.key[:20])


def test_a_search_survives_its_address() -> None:
    """What stands in an address is what is looked for; what cannot be meant is dropped."""
    wanted = ResponseSearch(
        category="a/b", tool="t&t", name="x y", text='ä"<', provenance="live", since="2026-01-01"
    )

    assert wanted == ResponseSearch.read(wanted.query())
    assert "" == ResponseSearch.read({"provenance": "nonsense"}).provenance


async def test_a_count_follows_the_dataset(store: Store, many: tuple[int, ResponseCounts]) -> None:
    """It is made again when the dataset is in another state, and sums up by name."""
    dataset_id, tally = many
    counter = ResponseCounter()
    await counter.get(store, await store.datasets.get("many"))
    await store.responses.keep(dataset_id, [response(N)])

    newer, is_current = await counter.get(store, await store.datasets.get("many"))

    assert newer
    assert {"recorded": N - N // 10, "simulated": N // 10} == dict(tally.total())
    assert (N if not is_current else N + 1) == newer.total().total()
    assert {"Cat0", "Cat1"} == tally.children().keys()
    assert ["tool_1", "tool_3", "tool_5"] == sorted(tally.children("Cat1"))
    assert ["api_1", "api_7"] == sorted(tally.children("Cat1", "tool_1"))
