"""Each job of a developer by one word: ``.venv/bin/nox -s tests``; ``nox -l`` lists them.

All run in the environment that nox itself is in, so nothing is installed anew; only ``lock`` makes one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "tests"]

_PROGRAMS = Path(sys.executable).parent


def _run(session: nox.Session, program: str, *args: str) -> None:
    session.run(str(_PROGRAMS / program), *args, external=True)


@nox.session
def tests(session: nox.Session) -> None:
    """The tests, or those that are named: nox -s tests -- tests/core -k store."""
    _run(session, "pytest", "-n", "2", "--dist", "worksteal", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, format, and who may import whom."""
    _run(session, "ruff", "check")
    _run(session, "ruff", "format", "--check")
    _run(session, "lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """The type checker."""
    _run(session, "mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """The generated references, written anew, and the site in the folder site/."""
    _run(session, "python", "docs/generate.py")
    _run(session, "sphinx-build", "-W", "docs", "site")


@nox.session
def bench(session: nox.Session) -> None:
    """The short forms of the benchmarks of the server and the agents."""
    _run(session, "python", "benchmarks/server.py", "--short")
    _run(session, "python", "benchmarks/agents.py", "--short")


@nox.session
def coverage(session: nox.Session) -> None:
    """The tests with line and branch coverage, and what none of them reaches."""
    _run(session, "pytest", "-n", "2", "--dist", "worksteal", "--cov", "--cov-report=", *session.posargs)
    _run(session, "coverage", "report", "--skip-covered", "--show-missing")


@nox.session
def ci(session: nox.Session) -> None:
    """All that must hold before a change is taken, from a clean copy."""
    session.run(".ci/run", external=True)


@nox.session
def long(session: nox.Session) -> None:
    """The same with the tests that take long, and coverage."""
    session.run(".ci/run", "--long", external=True)


@nox.session(venv_backend="venv")
def lock(session: nox.Session) -> None:
    """The newest versions that pyproject.toml allows, for developers (requirements-dev.lock) and the images."""
    session.install("-e", ".[dev]", "build", "uv", env={"PIP_CONSTRAINT": ""})
    path = Path("requirements-dev.lock")
    comment = [line for line in path.read_text().splitlines() if line.startswith("#")]
    versions = session.run("python", "-m", "pip", "freeze", "--exclude-editable", silent=True)
    kept = [line for line in str(versions).splitlines() if not line.startswith("uv==")]
    path.write_text("\n".join([*comment, *kept]) + "\n")
    builder = Path(session.create_tmp()) / "build.in"
    builder.write_text("hatchling\n")
    _lock_image(session, "server", "pyproject.toml", *_SERVER)
    _lock_image(session, "runner", "pyproject.toml", *_SERVER, *_RUNNER, "-c", "deploy/server.lock")
    _lock_image(session, "build", str(builder))


_SERVER = ("--extra", "mcp", "--extra", "otel", "--extra", "postgres")
_RUNNER = ("--extra", "report", "--extra", "retrieval")
_UNIVERSAL = ("--universal", "--python-version", "3.11", "--generate-hashes", "--no-annotate", "--no-header")


def _lock_image(session: nox.Session, name: str, source: str, *options: str) -> None:
    """Write one lock of deploy/Dockerfile, with hashes and without the place that they came from."""
    path = Path(f"deploy/{name}.lock")
    comment = path.read_text().splitlines()[0]
    # Not onto the file itself: uv would keep the versions that it finds there.
    written = Path(session.create_tmp()) / path.name
    session.run(
        *(
            "uv",
            "pip",
            "compile",
            "--quiet",
            source,
            *_UNIVERSAL,
        ),
        *(*options, "-o", str(written)),
    )
    path.write_text("\n".join([comment, *written.read_text().splitlines()]) + "\n")
