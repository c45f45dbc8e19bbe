"""What tests of the inspector's pages do in a browser more than once."""

from __future__ import annotations

from playwright.sync_api import Page

from hostile import WRITE_TOKEN


def begin_to_edit(page: Page, site: str) -> None:
    """Show the write token."""
    page.goto(f"{site}/edit")
    page.get_by_label("Write token").fill(WRITE_TOKEN)
    page.get_by_role("button", name="Start editing").click()
    page.wait_for_url(f"{site}/")
