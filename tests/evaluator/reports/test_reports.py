"""Reports hold what was found, need nothing else, and are the same bytes for the same runs."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from conftest import unavailable
from evaluator_makers import make_run, trajectory
from stb_core.store import open_store
from stb_core.usage import Usage
from stb_evaluator.reports.content import load_published

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SYSTEMS = ("toolllama_sft_cot", "baseline-rft_cot")
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(name="imported")
def _imported(run_stb, real_data: Path) -> None:
    for system in SYSTEMS:
        run_stb("import", real_data / "pass_rate_results" / system, "--json")


@pytest.fixture(name="small")
def _small(run_stb, sqlite_store_url: str) -> None:
    """Two runs judged by rules, one incomplete and with a name that means harm."""

    async def fill() -> None:
        store = await open_store(sqlite_store_url)
        made = [trajectory(str(n)) for n in range(4)]
        await make_run(store, made, run="plain")
        await make_run(store, made[:3], run=HOSTILE, expected={"G1_tool": ["0", "1", "2", "3"]})
        await store.close()

    asyncio.run(fill())
    run_stb("score", "plain", HOSTILE, "--judge", "rules")


@pytest.mark.usefixtures("imported")
def test_the_page_opens_from_a_file_without_a_network(run_stb, tmp_path: Path) -> None:
    """In a real browser: every plot is there, nothing else is loaded, nothing complains."""
    run_stb("report", *SYSTEMS, "-o", "r.html", "--published")
    if CHROMIUM is None:
        unavailable("Chromium")
    sync_api = pytest.importorskip("playwright.sync_api")

    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        asked: list[str] = []
        said: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.goto((tmp_path / "r.html").as_uri())
        names = [section.get_attribute("id") for section in page.locator("section[id]").all()]
        sizes = [svg.bounding_box() for svg in page.locator("svg").all()]
        browser.close()

    assert names == ["forest", "groups", "matrix", "provenance", "cost", "consistency"]
    assert all(size and size["width"] > 200 and size["height"] > 80 for size in sizes)
    assert (asked, said) == ([(tmp_path / "r.html").as_uri()], [])


@pytest.mark.usefixtures("small")
def test_the_same_runs_are_the_same_bytes(run_stb, tmp_path: Path) -> None:
    """In every form, plots included."""
    for ending in ("html", "md", "csv", "json", "tex", "xml"):
        for name in ("one", "two"):
            run_stb("report", "plain", HOSTILE, "-o", f"{name}.{ending}")

        assert (tmp_path / f"one.{ending}").read_bytes() == (tmp_path / f"two.{ending}").read_bytes()


@pytest.mark.usefixtures("imported")
def test_the_forms_hold_the_same_scores(run_stb, tmp_path: Path) -> None:
    """JSON under rows, CSV a line a value, Markdown in tables."""
    for ending in ("md", "csv", "json"):
        run_stb("report", SYSTEMS[0], "-o", f"r.{ending}")

    document = json.loads((tmp_path / "r.json").read_text())
    row = next(r for r in document["rows"] if (r["block"], r["group"]) == ("faithful", "macro"))
    lines = list(csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text())))
    line = next(x for x in lines if (x["block"], x["group"], x["metric"]) == ("faithful", "macro", "sopr"))
    cell = f"{row['value']:.1f} [{row['ci_low']:.1f}, {row['ci_high']:.1f}]"
    assert float(line["value"]) == row["value"]
    assert cell in (tmp_path / "r.md").read_text()
    assert document["consistency"][0]["fleiss_kappa"] == pytest.approx(0.719, abs=0.001)


def test_consumption_is_shown_by_who_paid(run_stb, sqlite_store_url: str, tmp_path: Path) -> None:
    """Tokens and USD of agent, simulator and judge; what nobody knows stays empty."""
    paid = Usage(model_calls=1, prompt_tokens=1000, completion_tokens=234, cost_usd=0.5)

    async def fill() -> None:
        store = await open_store(sqlite_store_url)
        made = trajectory("1").model_copy(update={"usage": paid, "simulator_usage": Usage()})
        await make_run(store, [made], run="paid")
        await make_run(store, [trajectory("1")], run="unknown")
        await store.close()

    asyncio.run(fill())
    run_stb("score", "paid", "unknown", "--judge", "rules")
    run_stb("report", "paid", "unknown", "-o", "r.md")

    text = (tmp_path / "r.md").read_text()
    assert "| paid | 1,234 | 0.5000 | 0 |  | 0 |  |" in text
    assert "| unknown | 0 |  |  |  | 0 |  |" in text


@pytest.mark.usefixtures("imported")
def test_every_row_leads_to_its_run(run_stb, tmp_path: Path) -> None:
    """Runs are listed with dataset, judge, rubric and manifest."""
    run_stb("report", *SYSTEMS, "-o", "r.json")

    document = json.loads((tmp_path / "r.json").read_text())

    known = {run["run"]: run["manifest_hash"] for run in document["runs"]}
    assert all(known[row["run"]] == row["manifest_hash"] for row in document["rows"])
    assert {row["run"] for row in document["comparisons"]} <= known.keys()


@pytest.mark.usefixtures("small")
def test_an_incomplete_or_incomparable_report_says_so_first(run_stb, tmp_path: Path) -> None:
    """In the first lines, by a star at the score, and by the exit code."""
    ended = run_stb("report", "plain", HOSTILE, "-o", "r.md")

    lines = (tmp_path / "r.md").read_text().splitlines()
    assert ended.code == 1
    assert lines[2].startswith("- NOT COMPARABLE: judged by rules")
    assert lines[3].startswith("- INCOMPLETE: ")
    assert re.search(r"\| .*\d\]\* \|", "\n".join(lines))


@pytest.mark.usefixtures("small")
def test_names_from_outside_stay_text(run_stb, tmp_path: Path) -> None:
    """No element comes out of a run's name, in the page or in a plot."""
    run_stb("report", "plain", HOSTILE, "-o", "r.html")

    page = (tmp_path / "r.html").read_text()

    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_published_tables_are_marked_with_judge_and_date() -> None:
    """Ten systems by seven columns of pass rates, nine of win rates."""
    passing, winning = load_published()

    assert (len(passing.rows), len(winning.rows), len(passing.groups)) == (10, 9, 7)
    assert {len(cells) for table in (passing, winning) for cells in table.rows.values()} == {7}
    assert (passing.judge, passing.date) == ("gpt-4-turbo-preview", "2024-03")


@pytest.mark.usefixtures("small")
def test_published_tables_are_shown_on_demand(run_stb, tmp_path: Path) -> None:
    """Beside ours, never among them."""
    run_stb("report", "plain", "-o", "with.md", "--published")
    run_stb("report", "plain", "-o", "without.md")

    assert "judge gpt-4-turbo-preview, 2024-03" in (tmp_path / "with.md").read_text()
    assert "gpt-4-turbo" not in (tmp_path / "without.md").read_text()


@pytest.mark.usefixtures("small")
def test_without_matplotlib_the_page_says_what_to_install(run_stb, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other forms need no plots."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    refused = run_stb("report", "plain", "-o", "r.html")

    assert refused.code == 2
    assert refused.err.startswith(
        "stb: Plots need matplotlib. Install it: pip install 'stabletoolbench[report]'."
    )
    assert run_stb("report", "plain", "-o", "r.md").code == 0


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("plain", "-o", "r.pdf"), "stb: 'r.pdf' has no extension of a report format."),
        (("nope", "-o", "r.md"), "stb: There is no run 'nope'."),
        (("plain", "-o", "r.md", "--judge", "a/b"), "stb: a/b has not judged all of plain. Run stb score"),
    ],
)
def test_what_cannot_be_reported_is_one_line(run_stb, args: tuple[str, ...], line: str) -> None:
    """Exit code 2, nothing written."""
    ended = run_stb("report", *args)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(line)
