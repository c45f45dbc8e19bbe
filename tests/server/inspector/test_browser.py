"""The inspector in a real browser: finding, trying and changing responses."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from hostile import KEY, PROBE, PROBED_KEY
from pages import begin_to_edit


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

    expect(page.get_by_role("navigation", name="Breadcrumb").get_by_role("link")).to_have_count(5)


def test_a_call_can_be_tried(hostile_site: str, page: Page) -> None:
    """A miss shows the nearest recorded call and what differs; that call itself is a hit."""
    page.goto(f"{hostile_site}/cache/weather/{KEY}")
    page.get_by_label("Arguments (JSON)").fill('{"city": "Bonm"}')
    page.get_by_role("button", name="Look up").click()
    expect(page.get_by_role("status")).to_contain_text("Closest recorded call")
    expect(page.locator("del")).to_contain_text("Bonm")
    page.get_by_label("Arguments (JSON)").fill('{"city": "Bonn"}')
    page.get_by_role("button", name="Look up").click()

    expect(page.get_by_role("status")).to_contain_text("recorded")
    expect(page.get_by_role("status")).to_contain_text("grey")


def test_arguments_that_are_no_call_are_explained(hostile_site: str, page: Page) -> None:
    """In the words of the server."""
    page.goto(f"{hostile_site}/cache/weather/{KEY}")
    page.get_by_label("Arguments (JSON)").fill("[1")
    page.get_by_role("button", name="Look up").click()

    expect(page.get_by_role("status")).to_contain_text("tool_input is not one JSON object")


def test_versions_can_be_compared(hostile_site: str, page: Page) -> None:
    """What was added and what was removed, each with its sign."""
    page.goto(f"{hostile_site}/cache/weather/{KEY}")
    page.get_by_role("link", name="what changed").click()

    expect(page.locator(".d-removed")).to_contain_text("<b>fine</b>")
    expect(page.locator(".d-added").first).to_contain_text("+")


def test_a_response_is_annotated_deleted_and_put_back(hostile_site: str, page: Page) -> None:
    """By hand, after the write token was shown once; before, there is nothing to press."""
    place = f"{hostile_site}/cache/weather/{PROBED_KEY}"
    page.goto(place)
    by_hand = page.get_by_role("region", name="Manual changes")
    expect(by_hand).to_contain_text(PROBE)
    assert 0 == by_hand.get_by_role("button").count()

    begin_to_edit(page, hostile_site)
    page.goto(place)
    page.get_by_label("Note", exact=True).fill("looks <b>odd</b>")
    page.get_by_role("button", name="Save the note").click()
    expect(page.get_by_label("Note", exact=True)).to_have_value("looks <b>odd</b>")
    by_hand.get_by_role("button", name="Unpin").click()
    by_hand.get_by_text("Delete", exact=True).click()
    page.get_by_label("Reason").fill("stale")
    by_hand.get_by_role("button", name="Take it out of force").click()
    expect(page.locator(".note").first).to_contain_text("no longer in force")
    by_hand.get_by_role("button", name="Put back into force").click()

    expect(by_hand.locator(".events")).to_contain_text("put back into force")
    expect(by_hand.locator(".events")).to_contain_text("stale")
    page.get_by_label("Note", exact=True).fill(PROBE)
    page.get_by_role("button", name="Save the note").click()
    page.get_by_role("button", name="editing Stop editing").click()
    expect(by_hand.get_by_role("button")).to_have_count(0)
