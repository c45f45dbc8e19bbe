"""All ways into an application: each path that it routes, with each method that the path takes."""

from __future__ import annotations

import re
from typing import NamedTuple

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import Mount

ALL_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")


class Door(NamedTuple):
    """One way in; ``path`` has names in braces."""

    method: str
    path: str

    @property
    def address(self) -> str:
        """A path that the route matches: a number in place of each name."""
        return _PARAMETER.sub("1", self.path)


def doors(app: FastAPI) -> list[Door]:
    """Every way in, in order of paths; ``HEAD`` goes with ``GET``."""
    found: set[Door] = set()
    for route in iter_route_contexts(app.routes):
        if isinstance(route.route, Mount):
            assert not route.route.routes, f"{route.path}: look at what is mounted there as well"
            found.add(Door("GET", f"{route.path}/{{path}}"))
            continue
        path = _PARAMETER.sub(r"{\1}", route.path or "")
        found |= {Door(method, path) for method in route.methods or ALL_METHODS if method != "HEAD"}
    return sorted(found)
