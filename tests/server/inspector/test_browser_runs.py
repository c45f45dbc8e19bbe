"""Runs in a real browser: search trees, comparisons, progress, a site on a disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import Page, expect

from conftest import clean_environment
from hostile import RUN
from llm_server import LLMServer, call
from preloaded_stb import execute_stb
from stb_core.store import Store, open_store
from stb_core.values.manifest import Manifest
from stb_core.values.trajectories import StopReason, Trajectory
from stb_server.worker.options import ServerOptions
from threaded_server import in_thread, served
from virtual_server import put_weather


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


def test_a_run_of_dfsdt_shows_its_search(
    demo_folder: Path, tmp_path: Path, llm: LLMServer, page: Page
) -> None:
    """The agent's own search, over HTTP: the branch that gave up opens, with times and tokens on its calls."""
    shutil.copytree(demo_folder / ".stb", tmp_path / ".stb")
    gave_up = call("Finish", return_type="give_up_and_restart")
    asked = [call("convert_for_coinage_fx_rates", amount=250, is_from="EUR", to=to) for to in ("USD", "GBP")]
    llm.answer(asked[0], gave_up, asked[1], call("Finish", return_type="give_answer", final_answer="215 GBP"))
    execute_stb(
        [
            *("run", "-a", "dfsdt", "-m", "openai/scripted", "-d", "demo", "--task-ids", "101"),
            *("--name", "searched", "--agent-option", "back_after_give_up=1"),
        ],
        env=clean_environment(OPENAI_BASE_URL=llm.url, OPENAI_API_KEY="none-needed"),
        cwd=tmp_path,
    ).check_returncode()

    with served(ServerOptions(f"sqlite:///{tmp_path}/.stb/stb.db", "demo")) as address:
        page.goto(f"{address}/runs/searched")
        page.locator("td.query a").first.click()
        left = page.locator("[data-tree] details.branch.b-pruned").first
        assert not left.evaluate("branch => branch.open")
        left.locator(":scope > summary").click()

        expect(left.get_by_text("gave up").last).to_be_visible()
        expect(left.locator(".spent").first).to_contain_text("tokens")
        expect(page.locator(".answer")).to_contain_text("215 GBP")
        expect(page.locator(".head", has_text="Search tree")).to_contain_text("limits: 2 children of a node")


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


def test_two_runs_stand_side_by_side(real_site: str, page: Page) -> None:
    """The same query, with both answers and all verdicts."""
    page.goto(f"{real_site}/runs/toolllama_sft_dfs")
    page.locator("td.query a").first.click()
    page.get_by_label("Compare with").select_option("toolllama_sft_cot")
    page.get_by_role("button", name="Compare").click()

    expect(page.get_by_role("heading", level=2)).to_have_text(["toolllama_sft_dfs", "toolllama_sft_cot"])


def test_a_call_of_a_run_leads_to_its_recording(real_site: str, page: Page) -> None:
    """And the recording names the run."""
    page.goto(f"{real_site}/runs/toolllama_sft_dfs")
    page.locator("td.query a").first.click()
    page.get_by_role("link", name="recorded answer").first.click()

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
    page.get_by_label("select toolllama_sft_dfs").check()
    page.get_by_label("select toolllama_sft_cot").check()
    page.get_by_role("button", name="Compare selected").click()

    differences = page.get_by_role("region", name="Differences").last
    expect(differences.locator("tbody tr")).to_have_count(1, timeout=60_000)
    expect(differences).to_contain_text("toolllama_sft_dfs")
    expect(page.get_by_role("region", name="Scores").last).to_contain_text("56.8 [")
    pictures = page.locator("figure img")
    expect(pictures).to_have_count(2)
    page.wait_for_function("() => [...document.querySelectorAll('figure img')].every(one => one.complete)")
    assert [True, True] == pictures.evaluate_all("images => images.map(one => one.naturalWidth > 100)")


def test_a_dataset_has_a_leaderboard(real_site: str, page: Page) -> None:
    """All systems that a judge looked at, the best first, with the matrix of their differences."""
    page.goto(f"{real_site}/runs")
    page.get_by_role("link", name="Leaderboard").click()

    ranked = page.get_by_role("region", name="Scores").last.locator("tbody tr")
    expect(ranked).to_contain_text(["toolllama_sft_dfs", "toolllama_sft_cot"])
    expect(page.get_by_role("img", name="Paired differences")).to_be_visible(timeout=30_000)


def test_a_site_opens_from_a_disk(real_store: str, page: Page, tmp_path: Path) -> None:
    """Without a network: from the first page to scores, a filter, a branch that was left, an answer."""
    systems = ("toolllama_sft_dfs", "toolllama_sft_cot", "toolbench_example")
    execute_stb(
        ["report", *systems, "--site", str(tmp_path / "site")],
        env=clean_environment(STB_DATABASE_URL=real_store),
    ).check_returncode()
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
    page.get_by_role("link", name="recorded answer").first.click()
    expect(page.get_by_role("region", name="Request")).to_be_visible()
    page.get_by_role("link", name="Runs", exact=True).click()
    page.get_by_role("link", name="toolbench_example").click()
    page.get_by_label("Query", exact=True).fill("57")
    page.locator("td.query a:visible").first.click()
    left = page.locator("[data-tree] details.branch").first
    left.locator(":scope > summary").click()

    expect(left.locator("details.branch.b-pruned").first).to_be_visible()
    assert [] == lost


def test_a_run_is_followed_without_loading(tmp_path: Path, page: Page) -> None:
    """Its count rises while its page and the table of runs stand open, over a restart of the server."""
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
        page.goto(f"{address}/runs")
        expect(page.locator("[data-live=done]")).to_have_text("0")
        table = page.context.new_page()
        table.goto(f"{address}/runs/live")
        page, table = table, page
        in_thread(add(0))
        expect(table.locator("[data-live=done]")).to_have_text("1", timeout=60_000)
        expect(page.locator("[data-live=done]")).to_have_text("1", timeout=60_000)
    with served(ServerOptions(url, "weather"), port=int(address.rsplit(":", 1)[1])):
        in_thread(add(1))
        expect(page.locator("[data-live=done]")).to_have_text("2", timeout=60_000)
        for followed in (page, table):
            expect(followed.locator("[data-live=state]")).to_have_text("✓ complete", timeout=60_000)
