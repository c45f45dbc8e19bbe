"""Which file holds the page of an address, and pages whose links lead from file to file."""

from __future__ import annotations

import hashlib
import html
import posixpath
import re
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

# In our pages an attribute always stands in double quotes, and text from outside holds none: it is
# escaped. So what looks like an attribute is one.
_ATTRIBUTE = re.compile(r' (href|src|srcset)="([^"]*)"')
_FILTERS = frozenset({"group", "outcome", "stop", "query"})
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_LONGEST = 80

Key = tuple[str, tuple[tuple[str, str], ...]]


class FileLinks:
    """The files of a site, by the addresses of their pages."""

    def __init__(self) -> None:
        self._files: dict[Key, str] = {}
        self._taken: set[str] = set()

    def add(self, address: str, file: str) -> str:
        """Give an address its file; one that is taken, in any case of letters, is given another name."""
        if file.lower() in self._taken:
            stem, dot, ending = file.rpartition(".")
            file = f"{stem}-{_digest(address)}{dot}{ending}"
        self._taken.add(file.lower())
        self._files[_key(address)] = file
        return file

    def also(self, address: str, file: str) -> None:
        """Let a further address lead to a file that is there."""
        self._files[_key(address)] = file

    def of(self, address: str, page: str) -> str | None:
        """The way from the file ``page`` to an address of the site; None for one that has no file."""
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            return address
        if not parts.path:  # a place on the page itself
            return address if not parts.query else None
        file = self._files.get(_key(address))
        query = ""
        if file is None:
            # What the page of a run shows of its trials is chosen by its script, from the address.
            members = parse_qsl(parts.query)
            chosen = [member for member in members if member[0] in _FILTERS]
            rest = [member for member in members if member[0] not in _FILTERS]
            file = self._files.get((unquote(parts.path), tuple(sorted(rest)))) if chosen else None
            query = f"?{urlencode(chosen)}"
        if file is None:
            return None
        way = posixpath.relpath(file, posixpath.dirname(page) or ".")
        return way + query + (f"#{parts.fragment}" if parts.fragment else "")

    def rewrite(self, text: str, page: str) -> str:
        """A page with its links turned into ways between files; links that lead nowhere are none."""

        def turn(found: re.Match[str]) -> str:
            way = self.of(html.unescape(found[2]), page)
            return "" if way is None else f' {found[1]}="{html.escape(way)}"'

        return _ATTRIBUTE.sub(turn, text)


def safe_name(name: str) -> str:
    """A name for one folder or file, of letters that every file system takes; others get a digest."""
    plain = _UNSAFE.sub("_", name)[:_LONGEST]
    if plain == name and plain.strip("."):
        return plain
    return f"{plain.strip('.') or '_'}-{_digest(name)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:8]


def _key(address: str) -> Key:
    parts = urlsplit(address)
    return unquote(parts.path), tuple(sorted(parse_qsl(parts.query)))
