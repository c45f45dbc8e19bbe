"""``stb experiment retrieval``: whether the APIs that queries need can be found among all."""

from __future__ import annotations

import re
from pathlib import Path

import click

from stb_core import cli
from stb_core.cli import stb_command
from stb_core.cli.store import choose_dataset, opened_store
from stb_core.errors import UsageError
from stb_core.retrieval import open_retriever
from stb_experiments.originals import queries_of_groups
from stb_experiments.output import finish_experiment
from stb_experiments.retrieval import measure_retrieval


@stb_command("retrieval")
@click.option(
    "-d", "--dataset", default="", help="DATASET, or DATASET:GROUP,GROUP; by default the only dataset."
)
@click.option(
    "-k",
    "ks",
    default="1,3,5,10,20",
    show_default=True,
    help="Numbers of first APIs that are counted, separated by commas.",
)
@click.option(
    "--embedding",
    multiple=True,
    help="PROVIDER/MODEL that is measured beside BM25; may be given several times.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N queries of each group.")
@click.option("--seed", default=0, show_default=True, help="Seed of the bootstrap.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder for rows, data, manifest and page."
)
async def command(
    dataset: str,
    ks: str,
    embedding: tuple[str, ...],
    limit: int | None,
    seed: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Recall and NDCG of the APIs that queries need, among all APIs of their dataset.

    Compares what stb run --tools retrieved:K would offer with what the authors of the queries say they need.
    """
    name, _, groups = dataset.partition(":")
    numbers = _numbers(ks)
    async with opened_store() as store:
        chosen = await choose_dataset(store, name)
        tools = await store.datasets.tools(chosen.id)
        queries = queries_of_groups(chosen.name, await store.datasets.queries(chosen.id), groups, limit)
    settings = cli.current_settings()
    retrievers = [open_retriever(tools, one, settings) for one in ("", *dict.fromkeys(embedding))]
    n_apis = sum(len(tool.api_list) for tool in tools)
    result = await measure_retrieval(chosen, queries, n_apis, retrievers, ks=numbers, seed=seed)
    finish_experiment(result, output, as_json=as_json)


def _numbers(text: str) -> list[int]:
    """``"1,5"`` → [1, 5]."""
    if not re.fullmatch(r"[1-9]\d{0,3}(,[1-9]\d{0,3})*", text):
        raise UsageError(f"{text!r} is not a list of numbers.", hint="Use the form -k 1,5,10.")
    return sorted({int(part) for part in text.split(",")})
