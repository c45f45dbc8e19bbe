"""Makes the pictures in ``docs/inspector``: ``python docs/screenshots.py URL`` of a server with runs.

Needs the extra ``test`` and Debian's Chromium. The pictures that stand there were made from the demo,
with a run of ``dfsdt`` beside those of the demo.
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).parent / "inspector"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def places(page: Page, url: str) -> dict[str, str]:
    """The pages to take, by the name of their picture; found as a reader would find them."""
    page.goto(f"{url}/cache")
    cache = page.url
    page.goto(page.locator("a.hit").nth(3).evaluate("link => link.href"))
    response = page.url
    page.goto(f"{url}/misses")
    misses = page.url
    page.goto(f"{url}/runs")
    runs = page.locator("td.name a").evaluate_all("links => links.map(link => link.href)")
    ids = [run.rsplit("/", 1)[1] for run in runs]
    found = {
        "overview": url,
        "cache": cache,
        "response": response,
        "misses": misses,
        "runs": f"{url}/runs",
        "run": runs[-1],
        "compare": f"{url}/compare?" + "&".join(f"run={name}" for name in ids),
    }
    for run in runs:
        page.goto(run)
        queries = page.locator("td.query a").evaluate_all("links => links.map(link => link.href)")
        for query in queries[:20]:
            page.goto(query)
            if page.locator("details.branch").count():
                return found | {"tree": query}
    return found


def main() -> None:
    """Take every page, light and dark."""
    url = sys.argv[1].rstrip("/")
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        for scheme in ("light", "dark"):
            context = browser.new_context(viewport={"width": 1180, "height": 860}, color_scheme=scheme)
            page = context.new_page()
            for name, place in places(page, url).items():
                page.goto(place)
                page.wait_for_timeout(4000 if page.locator("[data-reload]").count() else 200)
                if name == "tree":
                    page.locator("details.branch:not([open]) > summary").first.click()
                    page.locator("#tree").scroll_into_view_if_needed()
                page.screenshot(path=FOLDER / f"{name}-{scheme}.png")
            context.close()
        browser.close()


if __name__ == "__main__":
    main()
