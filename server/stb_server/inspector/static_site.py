"""Writes the pages of some runs as files that open from a disk and from any web server.

The pages are those of a server, rendered within this process. Only their links differ, and parts that need
a server are left out. The site includes the recorded responses that the runs used.
"""

from __future__ import annotations

import hashlib
import html
import posixpath
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import httpx
from starlette.applications import Starlette

from stb_core.errors import ConflictError, StbError, StoreError, UsageError
from stb_core.files import whole_folder
from stb_core.plugins import WrittenSite
from stb_core.store import Run, Store
from stb_server.inspector import site
from stb_server.inspector.context import Inspector
from stb_server.inspector.pages.trajectory import find_recorded_keys
from stb_server.inspector.rendering import place, url
from stb_server.inspector.run_digests import RunDigests
from stb_server.inspector.standings import Standings
from stb_server.inspector.verdicts import JudgeName, count_verdicts, goes_with, list_judges

# In our pages attributes always use double quotes, and text from outside has none because it is escaped.
# So whatever looks like an attribute is one.
_ATTRIBUTE = re.compile(r' (href|src|srcset)="([^"]*)"')
_FILTERS = frozenset({"group", "outcome", "stop", "query"})
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_LONGEST_NAME = 80
AddressKey = tuple[str, tuple[tuple[str, str], ...]]

FIRST_PAGE = "index.html"
_SERVER = "http://127.0.0.1:8080"
_PATIENCE_S = 3600.0
_FIGURES = ("forest", "matrix")


async def write(
    store: Store,
    runs: Sequence[str],
    folder: Path,
    *,
    title: str,
    force: bool,
    advance: Callable[[int, int], None],
) -> WrittenSite:
    """Write a site, see ``stb_core.plugins.SiteWriter``."""
    _check_folder(folder, force=force)
    inspector = Inspector(lambda: store, standings=Standings(_PATIENCE_S), only=frozenset(runs), title=title)
    app = Starlette(routes=site.routes())
    app.state.inspector = inspector
    links = FileLinks()
    addresses = await _assign_files(inspector, links)
    try:
        with whole_folder(folder, replace=True) as part:
            size = await _write_all(app, addresses, links, part, advance)
    except UsageError as problem:
        raise StoreError(problem.message, hint="Name another place.") from None
    pages = sum(file.endswith(".html") for file in addresses.values())
    return WrittenSite(folder / FIRST_PAGE, pages, len(addresses), size)


def _check_folder(folder: Path, *, force: bool) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / FIRST_PAGE).is_file() or not (folder / "static" / "inspector.css").is_file():
        raise ConflictError(
            f"{folder} is not an empty folder.", hint="Name a folder that does not exist yet."
        )
    if not force:
        raise ConflictError(f"{folder} already has a site.", hint="Name another folder, or add --force.")


async def _assign_files(inspector: Inspector, links: FileLinks) -> dict[str, str]:
    """All pages and files of the site, address → file, in the order of writing."""
    runs = await inspector.runs()
    files: dict[str, str] = {}

    def add(address: str, file: str) -> str:
        files[address] = links.add(address, file)
        return files[address]

    add("/runs", FIRST_PAGE)
    for path in sorted(site.STATIC.iterdir()):
        add(f"/static/{path.name}", f"static/{path.name}")
    judges = await count_verdicts(inspector.store, [run.run for run in runs])
    _add_leaderboards(runs, judges, links, add)
    for run in runs:
        address_of_run, folder = place("runs", run.run), f"runs/{safe_name(run.run)}"
        first = add(address_of_run, f"{folder}/{FIRST_PAGE}")
        for number, judge in enumerate(run_judges := [*judges[run.run]], 1):
            if judge == run_judges[-1]:  # the default judge of the page
                links.also(url(address_of_run, judge=judge.address), first)
            else:
                add(url(address_of_run, judge=judge.address), f"{folder}/judge-{number}.html")
        digest = await inspector.digests.get(inspector.store, run.run)
        for group, query_id, trial in digest.trials:
            query = f"?trial={trial}" if trial else ""
            file = (
                f"{folder}/{safe_name(group)}/{safe_name(query_id)}{f'-trial-{trial + 1}' if trial else ''}"
            )
            address = place("runs", run.run, group, query_id)
            add(address + query, f"{file}.html")
            add(f"{address}/raw{query}", f"{file}.json")
    for dataset, keys in (await _find_used_keys(inspector.store, runs, inspector.digests)).items():
        for key in keys:
            file = f"responses/{safe_name(dataset)}/{key}"
            add(place("cache", dataset, key), f"{file}.html")
            add(place("cache", dataset, key, "raw"), f"{file}.json")
    return files


def _add_leaderboards(
    runs: Sequence[Run],
    judged: Mapping[str, Collection[JudgeName]],
    links: FileLinks,
    add: Callable[[str, str], str],
) -> None:
    """Add a leaderboard for each dataset with scored runs and each judge, with its figures."""
    for dataset in sorted({run.dataset for run in runs if judged[run.run]}):
        judges_by_run = {run.run: judged[run.run] for run in runs if run.dataset == dataset}
        judges = list_judges(judges_by_run)
        name = f"leaderboards/{safe_name(dataset)}"
        first = add(url("/compare", dataset=dataset), f"{name}.html")
        links.also(url("/compare", dataset=dataset, judge=judges[-1].address), first)
        for number, judge in enumerate(judges, 1):
            if judge != judges[-1]:
                add(url("/compare", dataset=dataset, judge=judge.address), f"{name}-judge-{number}.html")
            is_alone = sum(goes_with(judges_of_run, judge) for judges_of_run in judges_by_run.values()) == 1
            for figure in _FIGURES[:1] if is_alone else _FIGURES:
                for dark in ("", "1"):
                    picture = f"/compare/{figure}.svg"
                    address = url(picture, dataset=dataset, judge=judge.address, dark=dark)
                    add(address, f"{name}-{figure}-{number}{'-dark' if dark else ''}.svg")


async def _find_used_keys(store: Store, runs: Sequence[Run], digests: RunDigests) -> dict[str, list[str]]:
    """The keys of recorded calls that the runs made, by dataset."""
    datasets = {dataset.name for dataset in await store.datasets.all()}
    keys_by_dataset: dict[str, list[str]] = {}
    for dataset in sorted({run.dataset for run in runs} & datasets):
        keys: set[str] = set()
        for run in runs:
            if run.dataset == dataset:
                keys.update((await digests.get(store, run.run)).used)
        keys_by_dataset[dataset] = sorted(await find_recorded_keys(store, dataset, sorted(keys)))
    return keys_by_dataset


async def _write_all(
    app: Starlette,
    addresses: dict[str, str],
    links: FileLinks,
    folder: Path,
    advance: Callable[[int, int], None],
) -> int:
    """Render and write every page; returns the total size in bytes."""
    size = 0
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=_SERVER, timeout=None) as client:  # noqa: S113
        for number, (address, file) in enumerate(addresses.items(), 1):
            answer = await client.get(address)
            if answer.status_code != 200:
                if file.endswith(".svg"):
                    continue  # no plugin draws figures; the tables have the same numbers
                raise StbError(f"The page {address} could not be made ({answer.status_code}).")
            data = answer.content
            if file.endswith(".html"):
                data = links.rewrite(answer.text, file).encode()
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            size += len(data)
            advance(number, len(addresses))
    return size


class FileLinks:
    """The files of a site, by the addresses of their pages."""

    def __init__(self) -> None:
        self._files: dict[AddressKey, str] = {}
        self._taken: set[str] = set()

    def add(self, address: str, file: str) -> str:
        """Assign a file to an address; a name that is taken, ignoring case, is changed."""
        if file.lower() in self._taken:
            stem, dot, ending = file.rpartition(".")
            file = f"{stem}-{_digest(address)}{dot}{ending}"
        self._taken.add(file.lower())
        self._files[_key(address)] = file
        return file

    def also(self, address: str, file: str) -> None:
        """Let another address lead to an existing file."""
        self._files[_key(address)] = file

    def of(self, address: str, page: str) -> str | None:
        """The relative path from the file ``page`` to an address of the site; None if it has no file."""
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            return address
        if not parts.path:  # a fragment of the page itself
            return address if not parts.query else None
        file = self._files.get(_key(address))
        query = ""
        if file is None:
            # The script of a run's page filters its trials by the address.
            members = parse_qsl(parts.query)
            filters = [member for member in members if member[0] in _FILTERS]
            rest = [member for member in members if member[0] not in _FILTERS]
            file = self._files.get((unquote(parts.path), tuple(sorted(rest)))) if filters else None
            query = f"?{urlencode(filters)}"
        if file is None:
            return None
        relative = posixpath.relpath(file, posixpath.dirname(page) or ".")
        return relative + query + (f"#{parts.fragment}" if parts.fragment else "")

    def rewrite(self, text: str, page: str) -> str:
        """A page with its links changed to relative paths; links without a target are removed."""

        def turn(attribute: re.Match[str]) -> str:
            target = self.of(html.unescape(attribute[2]), page)
            return "" if target is None else f' {attribute[1]}="{html.escape(target)}"'

        return _ATTRIBUTE.sub(turn, text)


def safe_name(name: str) -> str:
    """A name for a folder or file that every file system accepts; a changed name gets a digest."""
    plain = _UNSAFE.sub("_", name)[:_LONGEST_NAME]
    if plain == name and plain.strip("."):
        return plain
    return f"{plain.strip('.') or '_'}-{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:8]


def _key(address: str) -> AddressKey:
    parts = urlsplit(address)
    return unquote(parts.path), tuple(sorted(parse_qsl(parts.query)))
