"""The pages of runs: places that a run may have, runs without one, runs that need no judge, and their calls."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence

import pytest

from evaluator_makers import make_run, query_of, trajectory
from stb_core.store import Store, open_store
from stb_core.values import Status, StopReason, Trajectory, Verdict
from stb_server.worker.options import ServerOptions
from threaded_server import in_thread, served, settled_page
from virtual_server import put_weather, recorded

IDS = [str(number) for number in range(6)]


def answers(ids: Sequence[str], stop: StopReason = StopReason.ANSWERED) -> list[Trajectory]:
    """One trajectory for each query, with one call of an API; where it was answered, ``Finish`` follows."""
    return [trajectory(one, stop=stop) for one in ids]


async def judge(store: Store, run: str, made: Sequence[Trajectory], solved: int) -> None:
    """Verdicts of one judge, of which the first say *solved*."""
    await store.verdicts.append(
        [
            Verdict(
                run=run,
                group=one.group,
                query_id=one.query_id,
                judge="recorded",
                rubric="recorded",
                round=0,
                status=Status.SOLVED if number < solved else Status.UNSOLVED,
                answer_hash=one.answer_hash,
            )
            for number, one in enumerate(made)
        ]
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """Six queries: two runs are alike, one covers four, one lacks answers, and in one nobody answered."""
    url = f"sqlite:///{tmp_path_factory.mktemp('pages') / 'store.db'}"

    async def fill() -> None:
        store = await open_store(url)
        dataset = await put_weather(store, recorded({"city": "Oslo"}, b'{"error":"","response":"0"}'))
        async with store.writing() as connection:
            await store.datasets.put_queries(connection, dataset.id, [query_of(one) for one in answers(IDS)])
        for run, ids in (("one", IDS), ("other", IDS), ("few", IDS[:4]), ("torn", IDS[:5])):
            await make_run(
                store,
                answers(ids),
                run=run,
                dataset="weather",
                expected={"G1_tool": IDS if run == "torn" else ids},
            )
            await judge(store, run, answers(ids), solved=3)
        await make_run(store, answers(IDS, StopReason.GAVE_UP), run="silent", dataset="weather")
        await make_run(store, answers(IDS, StopReason.NO_FINISH), run="alone", dataset="elsewhere")
        await store.close()

    in_thread(fill())
    with served(ServerOptions(url, "weather")) as address:
        yield address


def row_of(page: str, run: str) -> str:
    """The row of a run in a table, without tags."""
    (row,) = [one for one in re.findall("<tr>.*?</tr>", page, re.DOTALL) if f'href="/runs/{run}"' in one]
    return " ".join(re.sub("<[^>]*>", " ", row).split())


@pytest.mark.parametrize("where", ["/runs", "/", "/runs?agent=one"])
def test_a_list_of_runs_shows_the_places_that_the_leaderboard_shows(site: str, where: str) -> None:
    """Also a list of some of them: places are those among all runs on the dataset."""
    board = row_of(settled_page(f"{site}/compare?dataset=weather"), "one")
    assert board.startswith("1\u20133 one")

    assert "place 1\u20133" in row_of(settled_page(site + where), "one")


def test_a_run_that_covers_less_has_no_place_anywhere(site: str) -> None:
    """The list, the leaderboard and the run's own page say how much it covers."""
    listed, board = settled_page(f"{site}/runs"), settled_page(f"{site}/compare?dataset=weather")
    rows = [row_of(listed, "few"), row_of(board, "few")]

    assert all("not ranked: 4 of 6 queries" in row and "SUBSET 4 of 6 queries" in row for row in rows)
    assert "not ranked: incomplete: 1 answer missing" in row_of(listed, "torn")
    assert board.index("Not ranked") > board.index('href="/runs/silent"')
    assert board.index("Not ranked") < min(board.index(f'href="/runs/{run}"') for run in ("few", "torn"))
    assert ">SUBSET<" in settled_page(f"{site}/runs/few")
    assert ">SUBSET<" not in settled_page(f"{site}/runs/one")


def test_a_run_in_which_nobody_answered_has_a_score_and_a_place(site: str) -> None:
    """It is 0, whichever judge looked at the others."""
    row = row_of(settled_page(f"{site}/runs"), "silent")
    assert "0.0 [" in row
    assert "no answer to judge" in row
    assert "place " in row

    page = settled_page(f"{site}/runs/silent")
    assert "6 unsolved" in " ".join(re.sub("<[^>]*>", " ", page).split())
    assert "no answer needs a judge" in page

    chosen = settled_page(f"{site}/compare?run=silent&run=one")
    assert "50.0" in row_of(chosen, "one")
    assert "0.0 [" in row_of(chosen, "silent")


def test_it_is_scored_where_no_run_has_a_verdict(site: str) -> None:
    """Alone on its dataset it has a score and a leaderboard, without another to have a place among."""
    row = row_of(settled_page(f"{site}/runs"), "alone")

    assert "0.0 [" in row
    assert "place" not in row
    assert "No answer needs a judge." in settled_page(f"{site}/compare?dataset=elsewhere")


def test_a_run_and_its_trajectories_count_calls_alike(site: str) -> None:
    """Finish is no call, so each trial has one."""
    trial = settled_page(f"{site}/runs/one/G1_tool/1")
    table = settled_page(f"{site}/runs/one")

    assert "<dt>calls</dt><dd>1</dd>" in trial
    assert table.count('<td class="n">1</td>') == len(IDS)


def test_a_list_of_responses_shows_a_short_answer_alone(site: str) -> None:
    """Neither what stands before every answer nor the brace after it."""
    page = settled_page(f"{site}/cache/weather?category=Weather&tool=sky_watch&api=current")

    assert '<td class="mono muted body">&#34;0&#34;</td>' in page
