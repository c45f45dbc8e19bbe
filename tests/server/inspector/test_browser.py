"""The inspector in a real browser: finding, following, folding, trying, by mouse and by keys alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from conftest import clean_environment, unavailable
from hostile import KEY, PAGES, PROBE, PROBED_KEY, RUN, WRITE_TOKEN
from stb_core.manifest import Manifest
from stb_core.store import Store, open_store
from stb_core.trajectories import StopReason, Trajectory
from stb_server.options import ServerOptions
from threaded_server import in_thread, served
from virtual_server import put_weather

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    """Debian's Chromium, without a window."""
    if not CHROMIUM:
        unavailable("chromium")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Generator[Page]:
    """A new page; a script that fails, or a policy that is broken, fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(10_000)
    problems: list[str] = []
    opened.on("pageerror", lambda problem: problems.append(str(problem)))
    opened.on("console", lambda said: problems.append(said.text) if "Content Security" in said.text else None)
    yield opened
    context.close()
    assert [] == problems


def test_a_response_of_the_release_is_found_in_three_steps(real_site: str, page: Page) -> None:
    """Name the tool and an argument, search, open what was found."""
    page.goto(f"{real_site}/cache/release")

    page.get_by_label("Tool or API").fill("demo_project_v13")  # one
    page.get_by_label("Arguments or key").fill('"Electronics"')
    page.get_by_role("button", name="Search").click()  # two
    page.locator("a.hit").first.click()  # three

    expect(page.get_by_role("heading", level=1)).to_contain_text(
        "get_products_in_category of demo_project_v13"
    )
    expect(page.get_by_role("region", name="Request")).to_contain_text("Electronics")
    expect(page.locator(".title .badge")).to_have_text("● recorded")


def test_names_lead_down_to_a_response(real_site: str, page: Page) -> None:
    """Category, tool and API are links with their counts."""
    page.goto(f"{real_site}/")

    page.get_by_role("link", name="release", exact=True).click()
    page.get_by_role("link", name="Weather").first.click()
    page.locator(".tiles a").first.click()
    page.locator(".tiles a").first.click()
    page.locator("a.hit").first.click()

    expect(page.get_by_role("navigation", name="Where you are").get_by_role("link")).to_have_count(5)


def test_a_pruned_branch_can_be_opened(real_site: str, page: Page) -> None:
    """In a search of ToolBench's own: the way to the answer is open, the branch that was left is not."""
    page.goto(f"{real_site}/runs/toolbench_example/G1_answer/57")
    tree = page.locator("[data-tree]")
    left = tree.locator("details.branch").first

    assert not left.evaluate("branch => branch.open")
    assert tree.locator("details.branch[open]").first.get_by_text("leads to the answer").count()
    left.locator(":scope > summary").click()
    pruned = left.locator("details.branch.b-pruned").first
    pruned.locator(":scope > summary").click()

    assert pruned.evaluate("branch => branch.open")
    expect(pruned.locator(".m-pruned").first).to_be_visible()
    expect(tree.locator(".n-final .m-answer")).to_be_visible()


def test_the_tree_goes_by_keys(hostile_site: str, page: Page) -> None:
    """Arrows move from line to line, open and close; focus can be seen."""
    page.goto(f"{hostile_site}/runs/{RUN}/G1_tool/1")
    first = page.locator("[data-tree] summary").first

    first.focus()
    page.keyboard.press("ArrowDown")  # the first branch, closed
    page.keyboard.press("ArrowRight")
    opened = page.evaluate("document.activeElement.parentElement.open")
    page.keyboard.press("ArrowRight")
    inside = page.evaluate("document.activeElement.closest('details.branch') !== null")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")

    assert (True, True, "solid") == (opened, inside, outline)
    assert not page.evaluate("document.activeElement.parentElement.open")


def test_everything_can_be_done_by_keys(hostile_site: str, page: Page) -> None:
    """From the skip link through the search to a response, and a try, without a mouse."""
    page.goto(f"{hostile_site}/cache/weather")
    page.keyboard.press("Tab")
    assert "Skip to the content" == page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    _tab_to(page, "document.activeElement.id === 'arguments'")
    page.keyboard.type("Bonn")
    page.keyboard.press("Enter")
    page.wait_for_url("**arguments=Bonn**")
    _tab_to(page, "document.activeElement.className === 'hit'")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/{KEY}")
    _tab_to(page, "document.activeElement.id === 'arguments'")
    page.keyboard.press("Control+A")
    page.keyboard.type('{"city": "Bonn am Rhein"}')
    _tab_to(page, "document.activeElement.textContent === 'Look up'")
    page.keyboard.press("Enter")
    page.wait_for_url("**/try")

    expect(page.get_by_role("status")).to_contain_text("This call is not recorded.")


def _tab_to(page: Page, reached: str) -> None:
    for _ in range(120):
        page.keyboard.press("Tab")
        if page.evaluate(reached):
            return
    pytest.fail(f"no way by Tab to {reached}")


def test_a_call_can_be_tried(hostile_site: str, page: Page) -> None:
    """A miss shows the nearest recorded call and what differs; that call itself is a hit."""
    page.goto(f"{hostile_site}/cache/weather/{KEY}")
    page.get_by_label("Arguments JSON object").fill('{"city": "Bonm"}')
    page.get_by_role("button", name="Look up").click()
    expect(page.get_by_role("status")).to_contain_text("Nearest recorded call")
    expect(page.locator("del")).to_contain_text("Bonm")
    page.get_by_label("Arguments JSON object").fill('{"city": "Bonn"}')
    page.get_by_role("button", name="Look up").click()

    expect(page.get_by_role("status")).to_contain_text("recorded")
    expect(page.get_by_role("status")).to_contain_text("grey")


def test_arguments_that_are_no_call_are_explained(hostile_site: str, page: Page) -> None:
    """In the words of the server."""
    page.goto(f"{hostile_site}/cache/weather/{KEY}")
    page.get_by_label("Arguments JSON object").fill("[1")
    page.get_by_role("button", name="Look up").click()

    expect(page.get_by_role("status")).to_contain_text("tool_input is not one JSON object")


def test_versions_can_be_compared(hostile_site: str, page: Page) -> None:
    """What was added and what was removed, each with its sign."""
    page.goto(f"{hostile_site}/cache/weather/{KEY}")
    page.get_by_role("link", name="what changed").click()

    expect(page.locator(".d-removed")).to_contain_text("<b>fine</b>")
    expect(page.locator(".d-added").first).to_contain_text("+")


def test_two_runs_stand_side_by_side(real_site: str, page: Page) -> None:
    """The same query, with both answers and all verdicts."""
    page.goto(f"{real_site}/runs/toolllama_sft_dfs")
    page.locator("td.query a").first.click()
    page.get_by_label("Beside").select_option("toolllama_sft_cot")
    page.get_by_role("button", name="Show both").click()

    expect(page.get_by_role("heading", level=2)).to_have_text(["toolllama_sft_dfs", "toolllama_sft_cot"])


def test_a_call_of_a_run_leads_to_its_recording(real_site: str, page: Page) -> None:
    """And the recording names the run."""
    page.goto(f"{real_site}/runs/toolllama_sft_dfs")
    page.locator("td.query a").first.click()
    page.get_by_role("link", name="the recorded answer").first.click()

    expect(page.get_by_role("region", name="Runs that made this call")).to_contain_text("toolllama_sft_dfs")


def test_a_run_is_narrowed(real_site: str, page: Page) -> None:
    """By group and outcome; the address keeps it."""
    page.goto(f"{real_site}/runs/toolllama_sft_dfs")
    page.get_by_label("Group", exact=True).select_option("G3_instruction")
    page.get_by_label("Outcome").select_option("solved")
    page.get_by_role("button", name="Filter").click()

    page.wait_for_url("**group=G3_instruction&outcome=solved**")
    shown = page.locator("table.trials tbody tr")
    assert 0 < shown.count() < 61
    expect(page.locator("table.trials .verdict").first).to_contain_text("solved")


def test_two_systems_are_compared(real_site: str, page: Page) -> None:
    """Chosen in the table: scores with intervals, and their difference with a corrected p."""
    page.goto(f"{real_site}/runs")
    page.get_by_label("choose toolllama_sft_dfs").check()
    page.get_by_label("choose toolllama_sft_cot").check()
    page.get_by_role("button", name="Compare the chosen").click()

    differences = page.get_by_role("region", name="Differences").last
    expect(differences.locator("tbody tr")).to_have_count(1, timeout=30_000)
    expect(differences).to_contain_text("toolllama_sft_dfs")
    expect(page.get_by_role("region", name="Scores").last).to_contain_text("56.8 [")
    pictures = page.locator("figure img")
    expect(pictures).to_have_count(2)
    drawn = pictures.evaluate_all("images => images.map(one => one.complete && one.naturalWidth > 100)")
    assert [True, True] == drawn


def test_a_dataset_has_a_leaderboard(real_site: str, page: Page) -> None:
    """All systems that a judge looked at, the best first, with the matrix of their differences."""
    page.goto(f"{real_site}/runs")
    page.get_by_role("link", name="Leaderboard").click()

    ranked = page.get_by_role("region", name="Scores").last.locator("tbody tr")
    expect(ranked).to_contain_text(["toolllama_sft_dfs", "toolllama_sft_cot"])
    expect(page.get_by_role("img", name="Paired differences")).to_be_visible(timeout=30_000)


def begin_to_edit(page: Page, site: str) -> None:
    """Show the write token."""
    page.goto(f"{site}/edit")
    page.get_by_label("Write token").fill(WRITE_TOKEN)
    page.get_by_role("button", name="Begin to edit").click()
    page.wait_for_url(f"{site}/")


def test_a_response_is_annotated_deleted_and_put_back(hostile_site: str, page: Page) -> None:
    """By hand, after the write token was shown once; before, there is nothing to press."""
    place = f"{hostile_site}/cache/weather/{PROBED_KEY}"
    page.goto(place)
    by_hand = page.get_by_role("region", name="By hand")
    expect(by_hand).to_contain_text(PROBE)
    assert 0 == by_hand.get_by_role("button").count()

    begin_to_edit(page, hostile_site)
    page.goto(place)
    page.get_by_label("Note", exact=True).fill("looks <b>odd</b>")
    page.get_by_role("button", name="Save the note").click()
    expect(page.get_by_label("Note", exact=True)).to_have_value("looks <b>odd</b>")
    by_hand.get_by_role("button", name="Unpin").click()
    by_hand.get_by_text("Delete", exact=True).click()
    page.get_by_label("Why").fill("stale")
    by_hand.get_by_role("button", name="Take it out of force").click()
    expect(page.locator(".note").first).to_contain_text("no longer in force")
    by_hand.get_by_role("button", name="Put back into force").click()

    expect(by_hand.locator(".events")).to_contain_text("put back into force")
    expect(by_hand.locator(".events")).to_contain_text("stale")
    page.get_by_label("Note", exact=True).fill(PROBE)
    page.get_by_role("button", name="Save the note").click()
    page.get_by_role("button", name="editing Stop").click()
    expect(by_hand.get_by_role("button")).to_have_count(0)


def test_a_site_opens_from_a_disk(real_store: str, page: Page, tmp_path: Path) -> None:
    """Without a network: from the first page to scores, a filter, a branch that was left, an answer."""
    systems = ("toolllama_sft_dfs", "toolllama_sft_cot", "toolbench_example")
    subprocess.run(
        [sys.executable, "-m", "stb_core.cli", "report", *systems, "--site", str(tmp_path / "site")],
        env=clean_environment(STB_DATABASE_URL=real_store),
        check=True,
        capture_output=True,
    )
    page.context.set_offline(True)
    lost: list[str] = []
    page.on("requestfailed", lambda request: lost.append(request.url))

    page.goto((tmp_path / "site" / "index.html").as_uri())
    page.get_by_role("link", name="Leaderboard").click()
    expect(page.get_by_role("img", name="Paired differences")).to_be_visible()
    page.get_by_role("link", name="toolllama_sft_dfs").first.click()
    page.get_by_label("Outcome").select_option("solved")
    shown = page.locator("table.trials tbody tr:visible")
    assert 0 < shown.count() < 61
    shown.locator("td.query a").first.click()
    page.get_by_role("link", name="the recorded answer").first.click()
    expect(page.get_by_role("region", name="Request")).to_be_visible()
    page.get_by_role("link", name="Runs", exact=True).click()
    page.get_by_role("link", name="toolbench_example").click()
    page.get_by_label("Query", exact=True).fill("57")
    page.locator("td.query a:visible").first.click()
    left = page.locator("[data-tree] details.branch").first
    left.locator(":scope > summary").click()

    expect(left.locator("details.branch.b-pruned").first).to_be_visible()
    assert [] == lost


@pytest.mark.parametrize("path", PAGES)
def test_probes_stay_text(hostile_site: str, page: Page, path: str) -> None:
    """Nothing that a name or body holds is run, with everything unfolded."""
    page.goto(hostile_site + path)
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")

    assert page.evaluate("typeof window.hit") == "undefined"
    assert 0 == page.locator("img:not([src^='/compare/'])").count()
    assert 1 == page.locator("script").count()


@pytest.mark.parametrize(
    ("scheme", "options"),
    [("light", {}), ("dark", {"runOnly": {"type": "rule", "values": ["color-contrast"]}})],
)
def test_axe_finds_nothing_serious(
    hostile_site: str, browser: Browser, scheme: str, options: dict[str, Any]
) -> None:
    """On every page, unfolded; in the dark the same pages have other colours."""
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    begin_to_edit(page, hostile_site)
    found = []
    for path in [*PAGES, "/cache/none", "/cache/weather?text=no+such+text"]:
        page.goto(hostile_site + path)
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        for violation in Axe().run(page, options=options).response["violations"]:
            if violation["impact"] in {"serious", "critical"}:
                nodes = [node["html"][:200] for node in violation["nodes"][:3]]
                found.append((path, violation["id"], nodes))
    context.close()

    assert [] == found


REAL_PAGES = (
    "/cache/release?name=weather",
    "/runs/toolllama_sft_dfs",
    "/compare?dataset=release",
    "/runs/toolbench_example/G1_answer/57",
)


@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing_serious_in_real_pages(real_site: str, browser: Browser, width: int) -> None:
    """With long names, tables that scroll, pictures, and a tree that is open in all its branches."""
    context = browser.new_context(viewport={"width": width, "height": 800})
    page = context.new_page()
    found = []
    for path in REAL_PAGES:
        page.goto(real_site + path)
        expect(page.locator("[data-reload]")).to_have_count(0, timeout=30_000)
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
        found += [
            (path, violation["id"], violation["nodes"][0]["html"][:200])
            for violation in Axe().run(page).response["violations"]
            if violation["impact"] in {"serious", "critical"}
        ]
    context.close()

    assert [] == found


def test_a_phone_shows_every_page(hostile_site: str, browser: Browser) -> None:
    """No page is wider than a small screen."""
    context = browser.new_context(viewport={"width": 360, "height": 740})
    page = context.new_page()
    wide = []
    for path in PAGES:
        page.goto(hostile_site + path)
        if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            wide.append(path)
    context.close()

    assert [] == wide


def test_a_run_is_followed_without_loading(tmp_path: Path, page: Page) -> None:
    """Its count rises while the page stands open, over a restart of the server, until it is complete."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    manifest = Manifest(dataset="weather", dataset_hash="0" * 64, agent="cot")

    async def begin() -> None:
        store = await open_store(url)
        await put_weather(store)
        await store.runs.create("live", manifest, {"G1_tool": ["0", "1"]})
        await store.close()

    async def add(number: int) -> None:
        store: Store = await open_store(url)
        done = Trajectory(
            group="G1_tool", query_id=str(number), query="Rain?", agent="cot", stop=StopReason.GAVE_UP
        )
        await store.runs.put_trajectories("live", [done])
        await store.close()

    in_thread(begin())
    with served(ServerOptions(url, "weather")) as address:
        page.goto(f"{address}/runs/live")
        expect(page.locator("[data-live=done]")).to_have_text("0")
        in_thread(add(0))
        expect(page.locator("[data-live=done]")).to_have_text("1", timeout=15_000)
    with served(ServerOptions(url, "weather"), port=int(address.rsplit(":", 1)[1])):
        in_thread(add(1))
        expect(page.locator("[data-live=done]")).to_have_text("2", timeout=20_000)
        expect(page.locator("[data-live=state]")).to_have_text("✓ complete")
