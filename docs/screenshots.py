"""Makes the pictures in ``docs/inspector``: ``python docs/screenshots.py URL [WRITE_TOKEN]`` of a server with runs.

Needs the extra ``test`` and Debian's Chromium. The pictures that stand there were made from the demo,
with runs of ``dfsdt`` and ``cot`` beside those of the demo, a simulated answer and a note.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).parent / "inspector"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SIZE = {"width": 1180, "height": 860}
PHONE = {"width": 390, "height": 844}


def places(page: Page, url: str) -> dict[str, str]:
    """The pages to take, by the name of their picture; found as a reader would find them."""
    page.goto(f"{url}/cache")
    cache = page.url
    noted = page.locator("tr", has_text="noted").locator("a.hit")
    response = (noted if noted.count() else page.locator("a.hit")).first.evaluate("link => link.href")
    page.goto(f"{url}/misses")
    misses = page.url
    dataset = cache.rsplit("/", 1)[1]
    page.goto(f"{url}/runs")
    runs = page.locator("td.name a").evaluate_all("links => links.map(link => link.href)")
    tree, run = searched(page, runs)
    page.goto(tree)
    rivals = page.locator("#against option")
    names = rivals.evaluate_all("options => options.map(one => one.value)")
    rival = names[len(names) // 2]
    page.goto(misses)
    tried = page.get_by_role("link", name="try it").first.evaluate("link => link.href")
    return {
        "overview": url,
        "cache": cache,
        "search": f"{cache}?name=rates&arguments=EUR",
        "response": response,
        "try": tried,
        "misses": misses,
        "runs": f"{url}/runs",
        "run": run,
        "tree": tree,
        "pair": f"{tree}?against={rival}",
        "leaderboard": f"{url}/compare?dataset={dataset}",
    }


def searched(page: Page, runs: list[str]) -> tuple[str, str]:
    """A trajectory with an answer and a branch that was left, and its run."""
    for run in runs:
        page.goto(f"{run}?stop=answered")
        queries = page.locator("td.query a").evaluate_all("links => links.map(link => link.href)")
        for query in queries:
            page.goto(query)
            if page.locator("details.b-pruned").count():
                return query, run
    raise SystemExit("No run holds a search that left a branch and found an answer.")


def take(page: Page, name: str, place: str, picture: str) -> None:
    """One picture, when everything on the page is computed."""
    page.goto(place)
    page.locator("[data-reload]").first.wait_for(state="detached", timeout=60_000)
    page.wait_for_load_state("networkidle")
    if name == "tree":
        page.locator("details.b-pruned:not([open]) > summary").first.click()
        page.locator("#tree").evaluate("heading => scrollTo(0, heading.offsetTop - 70)")
    if name == "edit":
        page.locator(".danger summary").click()
        page.set_viewport_size({**SIZE, "height": 1250})
        page.evaluate("scrollTo(0, 0)")
    page.mouse.move(0, 0)
    path = FOLDER / f"{picture}.png"
    page.screenshot(path=path)
    with Image.open(path) as taken:  # few colours say the same in half the bytes
        few = taken.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def main() -> None:
    """Take every page, light and dark, and two of them as a phone shows them."""
    url, *token = sys.argv[1:]
    url = url.rstrip("/")
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        for scheme in ("light", "dark"):
            page = browser.new_context(viewport=SIZE, color_scheme=scheme).new_page()
            found = places(page, url)
            for name, place in found.items():
                take(page, name, place, f"{name}-{scheme}")
            page.set_viewport_size(PHONE)
            take(page, "tree", found["tree"], f"phone-{scheme}")
            if token:
                page.set_viewport_size(SIZE)
                page.goto(f"{url}/edit")
                page.get_by_label("Write token").fill(token[0])
                page.get_by_role("button", name="Start editing").click()
                take(page, "edit", found["response"], f"edit-{scheme}")
        browser.close()


if __name__ == "__main__":
    main()
