"""Checks the installation: Python, this package, required packages, and extras."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import re
import sqlite3
import tempfile

from stb_server.commands.doctor_checks.check_result import CheckResult, failure

_DISTRIBUTION = "stabletoolbench"
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)(\[[^]]*\])?>=(?P<least>[0-9.]+)\s*(?P<marker>;.*)?$")
_EXTRAS = {
    "postgres": "asyncpg",
    "report": "matplotlib",
    "fidelity": "rouge_score",
    "mcp": "mcp",
    "otel": "opentelemetry.sdk",
}


def check_installation() -> list[CheckResult]:
    """Check the installation, without network access."""
    return [_versions(), _packages(), _extras(), _temporary_files()]


def _versions() -> CheckResult:
    version = importlib.metadata.version(_DISTRIBUTION)
    return CheckResult(
        "versions",
        f"{_DISTRIBUTION} {version}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"{platform.system()} {platform.machine()}",
    )


def _packages() -> CheckResult:
    problems = []
    required = importlib.metadata.requires(_DISTRIBUTION) or []
    plain = [found for text in required if (found := _REQUIREMENT.match(text)) and not found["marker"]]
    for requirement in plain:
        try:
            installed = importlib.metadata.version(requirement["name"])
        except importlib.metadata.PackageNotFoundError:
            problems.append(f"{requirement['name']} is missing")
            continue
        if _numbers(installed) < _numbers(requirement["least"]):
            problems.append(f"{requirement['name']} {installed} is older than {requirement['least']}")
    if problems:
        return failure(
            "packages",
            "package-outdated",
            "; ".join(problems),
            f"Install what is required: pip install --upgrade {_DISTRIBUTION}, in a separate environment.",
        )
    return CheckResult("packages", f"all {len(plain)} required packages are recent enough")


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: ``"2.1.0rc1"`` → ``(2, 1, 0)``."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[a-z+-]", version)[0]))


def _extras() -> CheckResult:
    installed = [name for name, module in _EXTRAS.items() if _is_installed(module)]
    absent = [name for name in _EXTRAS if name not in installed]
    return CheckResult(
        "extras", f"installed: {', '.join(installed) or 'none'}; absent: {', '.join(absent) or 'none'}"
    )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a parent package is missing
        return False


def _temporary_files() -> CheckResult:
    try:
        folder = tempfile.gettempdir()
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as problem:
        return failure(
            "temporary files",
            "temporary-unwritable",
            f"temporary files cannot be created ({problem.strerror or problem})",
            "Make /tmp writable, or set TMPDIR to another folder; stb serve needs it.",
        )
    return CheckResult("temporary files", f"can be created in {folder}")
