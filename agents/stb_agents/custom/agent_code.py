"""The code of an agent: the files that decide what it does, and one hash of them for the manifest."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from stb_core.values import content_hash

_OUR_PACKAGES = frozenset({"stb_core", "stb_server", "stb_agents", "stb_evaluator", "stb_experiments"})
_INSTALLED = frozenset({"site-packages", "dist-packages"})

_Files = Mapping[str, str]
"""Path → SHA-256."""


@dataclass(frozen=True)
class AgentCode:
    """What is known of an agent's code.

    Args:
        label: distribution and version, or the version that the agent states; "" where there is none.
        files: path → SHA-256 of each file that is known to decide what the agent does.
        read_again: the same files as they are now, and those that were loaded since.
    """

    label: str = ""
    files: _Files = field(default_factory=dict)
    read_again: Callable[[], _Files] | None = field(default=None, compare=False, repr=False)

    @property
    def is_seen(self) -> bool:
        """Whether anything is known of it."""
        return bool(self.label or self.files)

    @property
    def identity(self) -> str:
        """For the manifest: label and hash. The hash of a single file is the SHA-256 of that file."""
        hashes = list(self.files.values())
        digest = hashes[0] if len(hashes) == 1 else content_hash(dict(self.files)) if hashes else ""
        return " ".join(part for part in (self.label, digest) if part)

    def changes(self) -> list[str]:
        """What has happened to the code since it was read, in sentences; empty where nothing has."""
        now = self.read_again() if self.read_again else self.files
        changed = sorted(name for name, digest in self.files.items() if now.get(name) != digest)
        late = sorted(set(now) - set(self.files))
        found = []
        if changed:
            found.append(
                f"CHANGED: {', '.join(changed)}, of the agent's code, changed while the run was in progress: its"
                " results may come from both versions. The same command makes a new run."
            )
        if late:
            found.append(
                f"NOT IN THE MANIFEST: the agent loaded {', '.join(late)} only while it worked. A later change there"
                " is taken for the same run. Import it where the agent's file begins, or use --agent-version."
            )
        return found


def code_of_folder(folder: Path, entry: Path) -> AgentCode:
    """The code of an agent in a file: the file, and every module below the folder that it imports.

    Modules that are imported within functions are found in the source; those whose names are computed,
    once they are loaded. Installed packages below the folder are not the agent's.

    Args:
        folder: where the imports of the file begin.
        entry: the file, below the folder.
    """
    root, start = folder.resolve(), entry.resolve()
    if not start.is_relative_to(root):  # a link
        start = root / entry.name

    def read() -> _Files:
        return _hashes({*_imported(start, root), *_loaded_below(root)}, {root})

    return AgentCode(files=read(), read_again=read)


def code_of_module(module: ModuleType) -> AgentCode:
    """The code of an agent in a module: of its distribution if it is installed, else as ``code_of_folder``."""
    top = module.__name__.partition(".")[0]
    distributions = importlib.metadata.packages_distributions().get(top)
    if distributions:
        return code_of_distribution(importlib.metadata.distribution(distributions[0]), top)
    if not module.__file__:
        return AgentCode()
    entry = Path(module.__file__)
    depth = module.__name__.count(".") + (entry.name == "__init__.py")
    return code_of_folder(entry.resolve().parents[depth], entry)


def code_of_distribution(distribution: importlib.metadata.Distribution, package: str) -> AgentCode:
    """The code of an installed agent: name and version of its distribution, and its files.

    They are those that were installed with it, and all modules of the package.
    """

    def read() -> _Files:
        folders = [Path(folder).resolve() for folder in getattr(sys.modules.get(package), "__path__", ())]
        installed = [Path(str(path.locate())).resolve() for path in distribution.files or ()]
        modules = [path.resolve() for folder in folders for path in folder.rglob("*.py")]
        roots = {Path(str(distribution.locate_file(""))).resolve(), *(folder.parent for folder in folders)}
        return _hashes({path for path in (*installed, *modules) if _is_own(path)}, roots)

    return AgentCode(f"{distribution.name} {distribution.version}", read(), read)


def _is_own(path: Path) -> bool:
    """Whether a file of a distribution is not one that Python or the installer wrote."""
    written = path.parent.name.endswith(".dist-info") or path.name.startswith("__editable__")
    return "__pycache__" not in path.parts and path.suffix not in {".pyc", ".pth"} and not written


def _hashes(paths: set[Path], roots: set[Path]) -> _Files:
    """Path from the nearest root → SHA-256, of all files that are below one and can be read."""
    found = {}
    for path in paths:
        above = [root for root in roots if path.is_relative_to(root)]
        if above:
            nearest = max(above, key=lambda root: len(root.parts))
            with suppress(OSError):
                found[path.relative_to(nearest).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return dict(sorted(found.items()))


def _loaded_below(root: Path) -> set[Path]:
    """The files of loaded modules below a folder, but for this program's and installed ones."""
    found = set()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or name == "__main__" or name.partition(".")[0] in _OUR_PACKAGES:
            continue
        path = Path(file).resolve()
        if path.is_relative_to(root) and not _INSTALLED & set(path.relative_to(root).parts):
            found.add(path)
    return found


def _imported(entry: Path, root: Path) -> set[Path]:
    """A file and all files below a folder that it imports, and that these import, wherever the statement stands."""
    found: set[Path] = set()
    left = [entry]
    while left:
        path = left.pop()
        if path in found:
            continue
        found.add(path)
        if path.suffix == ".py":
            left += [file for base, name in _names_in(path, root) for file in _files_of(base, name)]
    return found


def _names_in(path: Path, root: Path) -> Iterator[tuple[Path, str]]:
    """What a file imports: the folder where the search begins, and a dotted name."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((root, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = path.parents[node.level - 1] if 0 < node.level <= len(path.parents) else root
            for alias in node.names:
                yield base, ".".join(part for part in (node.module, alias.name) if part)


def _files_of(base: Path, name: str) -> Iterator[Path]:
    """The files that ``import name`` loads if it is found in a folder: packages on the way, and the module."""
    parts = name.split(".")
    if parts[0] in _OUR_PACKAGES:
        return
    for depth in range(1, len(parts) + 1):
        place = base.joinpath(*parts[:depth])
        for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if file.is_file():
                yield file.resolve()
