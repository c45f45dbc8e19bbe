"""Checks a dataset in the store: hashes, counts, keys, and the APIs that queries name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import orjson

from stb_core.errors import CallError
from stb_core.store import Dataset, Store, browsing
from stb_core.values import (
    Fingerprint,
    Recording,
    call_key,
    canonical_json,
    parse_arguments,
    response_element,
)
from stb_server.datasets.content_hash import NO_CONTENTS, contents_hash


class IntegrityProblem(NamedTuple):
    """One problem: the kind of thing, its name, and what is wrong."""

    part: str
    name: str
    problem: str


async def check_contents(store: Store, dataset: Dataset) -> list[IntegrityProblem]:
    """Check the content hash of tools and queries, and that queries name existing APIs."""
    tools = await store.datasets.tools(dataset.id)
    queries = await store.datasets.queries(dataset.id)
    problems: list[IntegrityProblem] = []
    found = contents_hash(tools, queries)
    if found != (dataset.content_hash or NO_CONTENTS):
        text = f"is {found} by its tools and queries, but {dataset.content_hash or 'nothing'} is on record"
        problems.append(IntegrityProblem("dataset", "content hash", text))
    known = set(await store.datasets.api_refs(dataset.id))
    for query in queries:
        name = f"{query.group}/{query.query_id}"
        unknown = [ref for ref in dict.fromkeys((*query.apis, *query.relevant_apis)) if ref not in known]
        problems += [
            IntegrityProblem("query", name, f"no document describes its API {'/'.join(ref)}")
            for ref in unknown
        ]
    return problems


async def check_responses(
    store: Store, dataset: Dataset, *, look: Callable[[Recording], None] = lambda _: None
) -> list[IntegrityProblem]:
    """Check the key of every response in force, and their number and hash.

    ``look`` is called with every response, for further checks or to show progress.
    """
    problems: list[IntegrityProblem] = []
    fingerprint, count = Fingerprint(), 0
    async with browsing.snapshot(store) as connection:
        state, expected = await browsing.state(connection, dataset.id)
        async for response in browsing.stream(connection, dataset.id):
            if problem := response_problem(response):
                problems.append(IntegrityProblem("response", response.key, problem))
            fingerprint.add(response_element(response.key, response.provenance, response.body))
            count += 1
            look(response)
    if count != expected:
        problems.append(
            IntegrityProblem("dataset", "responses", f"are {count}, but {expected} are on record")
        )
    if fingerprint.hash != state.hash:
        text = f"is {fingerprint.hash} by its responses, but {state.hash} is on record"
        problems.append(IntegrityProblem("dataset", "responses hash", text))
    return problems


def response_problem(response: Recording) -> str:
    """What is wrong with the key, arguments or body of one response; empty if nothing is."""
    try:
        if canonical_json(parse_arguments(response.arguments)) != response.arguments:
            return "its arguments are not in canonical form"
    except (CallError, UnicodeDecodeError):
        return "its arguments are not a JSON object"
    if response.key != call_key(response.category, response.tool, response.api, response.arguments):
        return "its key is not that of its call"
    try:
        body = orjson.loads(response.body)
    except orjson.JSONDecodeError:
        return "its body is not JSON"
    if not isinstance(body, dict) or not {"error", "response"} <= body.keys():
        return "its body is not an object with error and response"
    return ""
