"""The page of a run and the leaderboard say when a run measured something else than its agent."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from evaluator_makers import make_run, trajectory
from stb_core.store import Store, open_store
from stb_core.values import FINISH, Status, Step, Verdict
from stb_server.worker.options import ServerOptions
from threaded_server import in_thread, served, settled_page
from virtual_server import put_weather

LINE = "MISSES: 50 % of the calls of poor had no recording: this measures the recordings more than the agent."
END = Step(function=FINISH, arguments='{"return_type":"give_answer","final_answer":"It is 4217."}')


async def put(store: Store, run: str, *provenances: str) -> None:
    """A judged run whose only answer rests on such calls."""
    steps = [Step(function="f", arguments="{}", provenance=one, category="C") for one in provenances]
    answer = trajectory("1", steps=[*steps, END])
    await make_run(store, [answer], run=run, dataset="weather")
    verdict = Verdict(
        run=run,
        group=answer.group,
        query_id="1",
        judge="recorded",
        rubric="recorded",
        round=0,
        status=Status.SOLVED,
        answer_hash=answer.answer_hash,
    )
    await store.verdicts.append([verdict])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """Two runs: half of the calls of ``poor`` are misses, ``good`` has recordings alone."""
    url = f"sqlite:///{tmp_path_factory.mktemp('headlines') / 'store.db'}"

    async def fill() -> None:
        store = await open_store(url)
        await put_weather(store)
        await put(store, "poor", "miss", "recorded")
        await put(store, "good", "recorded")
        (own,) = await store.verdicts.of_run("good")
        foreign = {"judge": "their/model", "source": "forged.zip", "is_foreign": True}
        await store.verdicts.append([own.model_copy(update=foreign)])
        await store.close()

    in_thread(fill())
    with served(ServerOptions(url, "weather")) as address:
        yield address


def test_the_page_of_a_run_says_it(site: str) -> None:
    """The sentence of stb score; nothing where there is nothing to say."""
    assert LINE in settled_page(f"{site}/runs/poor")
    assert "MISSES" not in settled_page(f"{site}/runs/good")


def test_the_leaderboard_says_it_and_has_a_column_of_misses(site: str) -> None:
    """Once above the table, with each run's own share in its row."""
    page = settled_page(f"{site}/compare?dataset=weather")

    assert page.count(LINE) == 1
    assert "50.0 %" in page
    assert "0.0 %" in page


def test_a_comparison_says_it(site: str) -> None:
    """Of runs that somebody chose, as of all on a dataset."""
    assert LINE in settled_page(f"{site}/compare?run=poor&run=good")


def test_the_leaderboard_gives_the_places_that_a_run_may_have(site: str) -> None:
    """Two runs with the same score, which nothing tells apart, may both have either place."""
    page = settled_page(f"{site}/compare?dataset=weather")

    assert page.count('title="by the score alone 1">1\u20132</span>') == 2
    assert "Not ranked" not in page


def test_a_foreign_verdict_is_shown_as_one_and_counted_nowhere(site: str) -> None:
    """On the page of the trajectory, with what brought it; the run has no such judge."""
    trial = settled_page(f"{site}/runs/good/G1_tool/1")

    assert "from forged.zip" in trial
    assert trial.count("foreign, not counted") == 1
    assert "their/model" not in settled_page(f"{site}/runs/good")
