"""A site holds its runs and nothing else, and every link in it leads to a file in it."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import orjson
import pytest

from command_line import Ended
from hostile import KEY, PROBE, RUN, put_hostile, search_trajectory
from stb_core import plugins
from stb_core.errors import ConflictError
from stb_core.plugins import WrittenSite
from stb_core.store import Store
from stb_core.values.manifest import Manifest
from stb_server.inspector.static_site import FileLinks, safe_name

SECRET = "run-that-stays-at-home"
LINK = re.compile(r' (?:href|src|srcset|action)="([^"]*)"')


async def write(store: Store, folder: Path, *runs: str, force: bool = False) -> WrittenSite:
    """Write a site as ``stb report --site`` does."""
    publisher = plugins.find_site_writer()
    assert publisher
    return await publisher(
        store, runs or [RUN], folder, title="A <title>", force=force, advance=lambda *_: None
    )


def half_written(folder: Path) -> list[Path]:
    return list(folder.glob(".*"))


@pytest.fixture
async def hostile(sqlite_store: Store) -> Store:
    """A run of probes, and one that made the same call and is not to be published."""
    await put_hostile(sqlite_store)
    manifest = Manifest(dataset="weather", dataset_hash="0" * 64, agent="a")
    await sqlite_store.runs.create(SECRET, manifest, {"G1_tool": ["1"]})
    await sqlite_store.runs.put_trajectories(SECRET, [search_trajectory()])
    return sqlite_store


async def test_every_link_leads_to_a_file(hostile: Store, tmp_path: Path) -> None:
    """Of the site itself, by a relative way; no page reaches beyond it."""
    site = await write(hostile, tmp_path / "site")

    root = site.first.parent
    pages = sorted(root.rglob("*.html"))
    broken = []
    for page in pages:
        for link in LINK.findall(page.read_text()):
            parts = urlsplit(html.unescape(link))
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if parts.scheme or parts.netloc or parts.path.startswith("/") or not target.is_file():
                broken.append((page.name, link))
            assert target.is_relative_to(root)
    assert [] == broken
    assert site.pages == len(pages) >= 4
    assert site.files == sum(path.is_file() for path in root.rglob("*"))


async def test_it_holds_its_runs_alone(hostile: Store, tmp_path: Path) -> None:
    """No other run is named, no response that they did not use, and no note."""
    site = await write(hostile, tmp_path / "site")

    root = site.first.parent
    everything = b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
    assert SECRET.encode() not in everything
    assert [f"{KEY}.html", f"{KEY}.json"] == sorted(path.name for path in root.glob("responses/*/*"))
    assert b"form_key" not in everything
    assert b'method="post"' not in everything
    trajectory = orjson.loads((root / "runs" / RUN / "G1_tool" / "1.json").read_bytes())
    assert PROBE == trajectory["query"]


async def test_the_same_store_gives_the_same_bytes(hostile: Store, tmp_path: Path) -> None:
    """Nothing says when a site was written."""
    one, other = [await write(hostile, tmp_path / name) for name in ("one", "other")]

    def content(site: WrittenSite) -> dict[str, bytes]:
        root = site.first.parent
        return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    assert content(one) == content(other)


async def test_a_site_replaces_nothing_but_a_site(hostile: Store, tmp_path: Path) -> None:
    """And that only if it is told to; nothing half-written stays behind."""
    await write(hostile, tmp_path / "site")
    (tmp_path / "site" / "stale.html").touch()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "index.html").write_text("ten years of work")

    with pytest.raises(ConflictError, match="already has a site"):
        await write(hostile, tmp_path / "site")
    with pytest.raises(ConflictError, match="is not an empty folder"):
        await write(hostile, tmp_path / "thesis", force=True)
    await write(hostile, tmp_path / "site", force=True)

    assert not (tmp_path / "site" / "stale.html").exists()
    assert [] == half_written(tmp_path)
    assert "ten years of work" == (tmp_path / "thesis" / "index.html").read_text()


@pytest.mark.parametrize("name", ["..", ".", "a/b", "C:\\x", "", "ä", "x" * 300, "a b", "%2e%2e"])
def test_names_become_files_of_the_folder(name: str) -> None:
    """Whatever a run is called."""
    safe = safe_name(name)

    assert re.fullmatch(r"[A-Za-z0-9._-]{1,90}", safe)
    assert safe.strip(".")
    assert "plain_name-1.0" == safe_name("plain_name-1.0")


def test_names_that_differ_by_case_have_files_of_their_own() -> None:
    """Where a file system takes them for the same, too."""
    links = FileLinks()

    files = [links.add(f"/runs/{name}", f"runs/{name}/index.html") for name in ("Run", "run")]

    assert 2 == len({file.lower() for file in files})
    assert files == [links.of(f"/runs/{name}", "index.html") for name in ("Run", "run")]


def test_links_are_turned_from_file_to_file() -> None:
    """Filters stay in the address of a run, places on a page stay, and what has no file is no link."""
    links = FileLinks()
    links.add("/runs", "index.html")
    links.add("/runs/a?judge=j%7Cr", "runs/a/judge-1.html")
    page = "runs/a/G1/1.html"

    turned = {
        "/runs": "../../../index.html",
        "/runs/a?judge=j%7Cr&group=G1#trials": "../judge-1.html?group=G1#trials",
        "#main": "#main",
        "/cache/x": None,
        "/runs/a?against=b": None,
        "https://example.org/": "https://example.org/",
    }
    assert turned == {address: links.of(address, page) for address in turned}
    assert '<a href="../../../index.html">x</a> <a>y</a>' == links.rewrite(
        '<a href="/runs">x</a> <a href="/cache/x?a=1&amp;b=2">y</a>', page
    )


def test_the_command_writes_a_site(in_process: Callable[..., Ended], tmp_path: Path) -> None:
    """Alone or beside a report; without either there is nothing to write."""
    nothing = in_process("report", "x")
    absent = in_process("report", "x", "--site", tmp_path / "site")

    assert (2, "stb: There is nothing to write. Name a file with -o or a folder with --site.") == nothing.said
    assert 2 == absent.code
    assert not (tmp_path / "site").exists()
