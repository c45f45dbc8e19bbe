"""Every page in a real browser: by keys alone, for a screen reader, on a phone, with hostile content."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from hostile import KEY, PAGES
from pages import begin_to_edit


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
        expect(page.locator("[data-reload]")).to_have_count(0, timeout=60_000)
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


def test_everything_can_be_done_by_keys(hostile_site: str, page: Page) -> None:
    """From the skip link through the search to a response, and a try, without a mouse."""
    page.goto(f"{hostile_site}/cache/weather")
    page.keyboard.press("Tab")
    assert "Skip to content" == page.evaluate("document.activeElement.textContent")
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
