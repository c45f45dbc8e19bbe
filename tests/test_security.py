"""The page on security promises nothing without a test."""

from __future__ import annotations

import ast
import re

from conftest import REPOSITORY
from test_docs import DOCS, anchors

PAGE = DOCS / "security.md"
_TEST = re.compile(r"\[test\]\((\.\./tests/[\w/]+\.py)#(test_\w+)\)")
_DANGEROUS_MODULES = frozenset({"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"})
_DANGEROUS_CALLS = frozenset({"eval", "exec"})


def threats() -> str:
    """The section in which each bullet is a promise."""
    return PAGE.read_text().partition("\n## Threat by threat\n")[2].partition("\n## ")[0]


def test_every_promise_names_its_tests() -> None:
    """Each promise ends with links to tests that exist, and says one thing."""
    promises = re.findall(r"^\* (.+?)(?=\n\n|\n\* |\Z)", threats(), re.MULTILINE | re.DOTALL)
    assert promises

    unheld = [promise for promise in promises if not re.search(rf"{_TEST.pattern}$", promise)]
    dead = [
        f"{path}#{name}"
        for promise in promises
        for path, name in _TEST.findall(promise)
        if name not in anchors((DOCS / path).resolve())
    ]
    several = [promise for promise in promises if ";" in promise]

    assert ([], [], []) == (unheld, dead, several)


def test_every_threat_has_a_promise() -> None:
    """No heading stands without a bullet."""
    empty = [part.splitlines()[0] for part in threats().split("\n### ")[1:] if "\n* " not in part]

    assert [] == empty


def test_nothing_is_unpickled_or_evaluated() -> None:
    """No module of the product reads a format that can run code, and none runs text as code."""
    found = []
    for room in ("core", "server", "agents", "evaluator"):
        for path in sorted((REPOSITORY / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    used = {alias.name.partition(".")[0] for alias in node.names} & _DANGEROUS_MODULES
                elif isinstance(node, ast.ImportFrom):
                    used = {(node.module or "").partition(".")[0]} & _DANGEROUS_MODULES
                elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    used = {node.func.id} & _DANGEROUS_CALLS
                else:
                    continue
                found += [f"{path.relative_to(REPOSITORY)}:{node.lineno}: {name}" for name in used]

    assert [] == found
