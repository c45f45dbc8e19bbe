"""Settings come from flags, the environment, .env and files, in that order, and from one reader."""

from __future__ import annotations

import ast
import subprocess
import tomllib
from datetime import date
from pathlib import Path

import click
import pytest

import stb_core
from stb_core.cli.program import default_map
from stb_core.errors import FormatError, NotFoundError, UsageError
from stb_core.settings import Settings, load_settings, toml_of


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


SETTINGS = {
    "port": 8080,
    "rate": 0.5,
    "quiet": True,
    "name with ü": 'two\nlines, "quotes", a \\ and \x7f',
    "hosts": ["a", "b"],
    "run": {"agent": ["react", "cot"], "since": date(2026, 1, 2)},
    "prices": {"openai/gpt-4o-mini": {"input": 0.15, "output": 0.6}},
    "empty": {},
    "cache": {"ls": {"sort": "key"}},
}


def test_settings_written_as_toml_are_read_back() -> None:
    """With tables in tables, and any text."""
    assert tomllib.loads(toml_of(SETTINGS)) == SETTINGS


def test_a_setting_without_a_value_is_left_out() -> None:
    """TOML has no null, and it means the default."""
    assert toml_of({"port": None, "host": "x"}) == 'host = "x"\n'


def test_a_yaml_file_is_read_and_says_how_to_convert_it(tmp_path: Path) -> None:
    """The command in the note prints the same settings as TOML."""
    file = tmp_path / "c.yaml"
    file.write_text("port: 2\nrun: {agent: react}\n")

    loaded = load_settings(file)
    (note,) = loaded.deprecations
    command = note.partition("Convert the file with: ")[2]
    subprocess.run(command, shell=True, check=True)

    assert note.startswith(f"{file}: settings in YAML are deprecated.")
    assert "\n" not in note
    converted = load_settings(tmp_path / "c.toml")
    assert converted.values == loaded.values
    assert converted.deprecations == ()


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


def test_a_table_of_one_file_does_not_hide_that_of_another(tmp_path: Path) -> None:
    """``--config`` lies over ``stb.toml`` setting by setting."""
    (tmp_path / "stb.toml").write_text('[score]\njudge = "rules"\nseed = 1\n[cache.ls]\nlimit = 5')
    (tmp_path / "c.yaml").write_text("score: {seed: 3}\ncache: {ls: {sort: key}}")

    values = load_settings(tmp_path / "c.yaml").values

    assert ({"judge": "rules", "seed": 3}, {"ls": {"limit": 5, "sort": "key"}}) == (
        values["score"],
        values["cache"],
    )


def test_the_environment_beats_the_table_of_a_command() -> None:
    """Also that of a command within a group."""
    group, within = click.Group(), click.Group()
    group.add_command(within, "cache")
    within.add_command(click.Command("ls", params=[click.Option(["--limit"], type=int)]))

    found = default_map(group, {"limit": "2", "cache": {"limit": 3, "ls": {"limit": 4}}}, {"limit": "2"})

    assert {"cache": {"ls": {"limit": "2"}}} == found


def test_lists_and_numbers_of_files_are_words_of_a_command_line() -> None:
    """A list for a flag that is given once is written with commas; a table for one is refused."""
    options = [
        click.Option(["--ids"]),
        click.Option(["--port"], type=int),
        click.Option(["--on"], multiple=True),
    ]
    group = click.Group()
    group.add_command(click.Command("run", params=options))

    found = default_map(group, {"ids": [1, "b"], "port": 8080.5, "on": 7})

    assert {"run": {"ids": "1,b", "port": "8080.5", "on": [7]}} == found
    with pytest.raises(UsageError, match=r"The setting ids is not a word or a list of words"):
        default_map(group, {"ids": [[1]]})


@pytest.mark.parametrize("key", ["sk-“quoted”", "sk-one\nsk-two", "sk\x00"])
def test_a_key_that_cannot_be_sent_is_named_and_not_shown(key: str) -> None:
    """White space around one is left out."""
    settings = Settings("", {}, {"ACME_API_KEY": key, "OTHER_API_KEY": " sk-1\n"})

    with pytest.raises(UsageError, match=r"^ACME_API_KEY holds characters that a key cannot have") as refused:
        settings.provider("acme")

    assert "sk" not in str(refused.value)
    assert (None, "sk-1") == settings.provider("other")
