"""The build backend: hatchling's, behind a plain word to a Python that is too old.

An old Python comes with an old pip, which complains of some dependency in place of the version.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this is what the file is for
    version = ".".join(map(str, sys.version_info[:3]))
    sys.exit(
        "StableToolBench needs Python 3.11 or newer; this is Python " + version + ". "
        "Make the virtual environment with a newer one: python3.12 -m venv .venv, say."
    )

from hatchling.build import (
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]
