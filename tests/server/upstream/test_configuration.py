"""An upstream configuration is read strictly: what is wrong is named, and no key is in it."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from stb_core.errors import FormatError, NotFoundError, StbError, UsageError
from stb_core.values.tools import ApiRef
from stb_server.upstream import configuration
from stb_server.upstream.configuration import UpstreamConfig, read_upstream_config

TOML = """
[limits]
total_s = 20
allowed_networks = ["10.0.0.0/8", "::1/128"]
[proxy]
url = "https://proxy.example/rapidapi/"
key_variable = "TOOLBENCH_KEY"
[hosts."films.example"]
concurrency = 2
per_second = 5
[[tools]]
category = "Movies & More"
tool = "Films!"
url = "https://films.example/v1"
secret_headers = { X-RapidAPI-Key = "RAPIDAPI_KEY" }
[tools.apis."Find title"]
path = "/title/{id}"
"""
YAML = """
tools:
  - category: Movies
    tool: films
    url: http://127.0.0.1:9000
    apis:
      find: {method: POST, body: [q]}
"""


def read(tmp_path: Path, text: str, name: str = "upstream.toml") -> UpstreamConfig:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return read_upstream_config(file)


def test_a_toml_file_is_read(tmp_path: Path) -> None:
    """Names may be as documented; limits have their units in their names."""
    config = read(tmp_path, TOML)

    assert (20, (ip_network("10.0.0.0/8"), ip_network("::1/128"))) == (
        config.limits.of_fetches().total_s,
        config.limits.of_fetches().allowed_networks,
    )
    assert config.proxy
    assert "https://proxy.example/rapidapi" == config.proxy.url
    assert (2, 5) == (
        config.hosts["films.example"].limits().concurrency,
        config.hosts["films.example"].per_second,
    )
    assert [ApiRef("Movies_&_More", "films", "find_title")] == list(config.direct_apis())


def test_a_yaml_file_is_read(tmp_path: Path) -> None:
    """With defaults for all that it does not say."""
    config = read(tmp_path, YAML, "upstream.yaml")

    ((tool, api),) = config.direct_apis().values()
    assert ("http://127.0.0.1:9000", "POST", ("q",)) == (tool.url, api.method, api.body)
    assert config.proxy is None


def test_an_empty_file_configures_nothing(tmp_path: Path) -> None:
    """Which is allowed."""
    assert UpstreamConfig() == read(tmp_path, "", "upstream.yaml")


def test_the_example_in_the_documentation_is_valid(tmp_path: Path) -> None:
    """It is what people copy."""
    _, example = (configuration.__doc__ or "").split("\n\n", 1)

    config = read(tmp_path, "\n".join(line[4:] for line in example.splitlines() if line.startswith("    ")))

    assert config.proxy
    assert 1 == len(config.tools)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("limits = 3", "limits: "),
        ("[limits]\ntotal = 3", "limits.total: "),
        ("[limits]\ntotal_s = 0", "limits.total_s: "),
        ("[limits]\nallowed_networks = ['here']", "limits.allowed_networks.0"),
        ("[proxy]\nurl = 'ftp://x'", "must begin with http"),
        ("[proxy]\nurl = 'https://me:pw@x.example'", "put keys into the environment"),
        ("[proxy]\nurl = 'https://x.example/?key=1'", "put keys into the environment"),
        ("[proxy]\nurl = 'http://x.example'\nkey = 'abc'", "proxy.key: "),
        ("[[tools]]\ncategory = 'a'\ntool = 'b'\nurl = 'http://x.example'\napis = {}", "tools.0.apis: "),
        (TOML.replace("/title/{id}", "title"), "tools.0.apis.Find title.path: "),
        (TOML.replace("X-RapidAPI-Key", '"X: Y"'), "tools.0.secret_headers"),
        (TOML.replace('"RAPIDAPI_KEY"', '"not a name"'), "tools.0.secret_headers"),
        (TOML.replace("[hosts", "headers = 3\n[hosts"), "proxy.headers: "),
        ("a = ", "cannot be used: "),
        ("a = 1\0", "cannot be used: "),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    """In one line."""
    with pytest.raises(FormatError) as caught:
        read(tmp_path, text)

    assert problem in caught.value.message
    assert "\n" not in caught.value.message


def test_a_mistake_does_not_show_the_value(tmp_path: Path) -> None:
    """It may be a key in the wrong place."""
    with pytest.raises(FormatError) as caught:
        read(tmp_path, TOML.replace('"RAPIDAPI_KEY"', '"sk-0123456789abcdef"'))

    assert "sk-0123456789abcdef" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """With the option that named it."""
    with pytest.raises(NotFoundError, match="--upstream"):
        read_upstream_config(tmp_path / "none.toml")


def test_secrets_come_from_the_environment(tmp_path: Path) -> None:
    """By the names in the file, and no others."""
    environment = {"RAPIDAPI_KEY": "r" * 10, "TOOLBENCH_KEY": "t" * 10, "OTHER": "o"}

    secrets = read(tmp_path, TOML).secrets(environment)

    assert {"RAPIDAPI_KEY": "r" * 10, "TOOLBENCH_KEY": "t" * 10} == secrets


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "RAPIDAPI_KEY, TOOLBENCH_KEY must be set"),
        ({"TOOLBENCH_KEY": "t", "RAPIDAPI_KEY": ""}, "RAPIDAPI_KEY must be set"),
        ({"TOOLBENCH_KEY": "t", "RAPIDAPI_KEY": "sk-1\nX: y"}, "RAPIDAPI_KEY cannot be sent"),
    ],
)
def test_a_secret_that_is_missing_or_unusable_is_named(
    tmp_path: Path, environment: dict[str, str], message: str
) -> None:
    """By the variable, never by its value."""
    config = read(tmp_path, TOML)

    with pytest.raises(UsageError, match=message) as caught:
        config.secrets(environment)

    assert "sk-1" not in str(caught.value)


@pytest.mark.parametrize("name", ["upstream.toml", "upstream.yaml"])
def test_a_folder_or_bytes_in_its_place_are_refused(tmp_path: Path, name: str) -> None:
    """With one of our errors."""
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / name).write_bytes(b"\xff\xfe\0")

    for file in (tmp_path / "folder.toml", tmp_path / name):
        with pytest.raises(StbError):
            read_upstream_config(file)
