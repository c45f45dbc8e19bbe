"""Settings come from flags, the environment, .env and files, in that order, and from one reader."""

from __future__ import annotations

import ast
from pathlib import Path

import click
import pytest

import stb_core
from stb_core.cli import default_map
from stb_core.errors import FormatError, NotFoundError
from stb_core.settings import load_settings


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("STB_PORT", "STB_CONFIG", "STB_DATABASE_URL", "ACME_API_KEY", "ACME_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def test_the_environment_beats_dotenv_beats_config_beats_stb_toml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each source overrides those beneath it."""
    (tmp_path / "stb.toml").write_text('port = 1\nhost = "toml"\nmode = "toml"\nseed = 1')
    (tmp_path / "c.yaml").write_text("port: 2\nhost: yaml\nmode: yaml")
    (tmp_path / ".env").write_text("STB_PORT=3\nSTB_HOST=dotenv")
    monkeypatch.setenv("STB_PORT", "4")

    values = load_settings(tmp_path / "c.yaml").values

    assert ("4", "dotenv", "yaml", 1) == tuple(values[n] for n in ("port", "host", "mode", "seed"))


def test_a_provider_is_found_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """``<PROVIDER>_BASE_URL`` and ``<PROVIDER>_API_KEY``."""
    monkeypatch.setenv("ACME_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("ACME_API_KEY", "k")

    assert ("http://127.0.0.1:1/v1", "k") == load_settings().provider("acme")


def test_a_missing_configuration_file_is_named(tmp_path: Path) -> None:
    """It is bad usage."""
    with pytest.raises(NotFoundError, match=r"There is no configuration file .*none\.toml"):
        load_settings(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("name", "text"), [("a.toml", "port = "), ("a.yaml", "a: [1"), ("b.yaml", "- 1\n- 2")]
)
def test_a_broken_configuration_file_is_named(tmp_path: Path, name: str, text: str) -> None:
    """The error names the file in one line."""
    (tmp_path / name).write_text(text)

    with pytest.raises(FormatError, match=name) as caught:
        load_settings(tmp_path / name)

    assert "\n" not in str(caught.value)


def test_a_table_serves_its_command_alone() -> None:
    """``[run]`` beats the top of the file, and lists may be written with commas."""
    group = click.Group("stb")
    options = [click.Option(["--limit"], type=int), click.Option(["-g", "--group"], multiple=True)]
    group.add_command(click.Command("run", params=list(options)))
    group.add_command(click.Command("score", params=list(options)))

    found = default_map(group, {"limit": 1, "group": "a,b", "run": {"limit": 2}})

    assert {"run": {"limit": 2, "group": ["a", "b"]}, "score": {"limit": 1, "group": ["a", "b"]}} == found


def test_only_settings_read_the_environment() -> None:
    """No other module of ours touches os.environ or os.getenv."""
    root = Path(stb_core.__file__).parent.parent.parent
    sources = [p for room in ("core", "server", "agents", "evaluator") for p in (root / room).rglob("*.py")]

    readers = {
        path.name
        for path in sources
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        and node.attr in {"environ", "getenv", "environb"}
    }

    assert readers <= {"settings.py"}
