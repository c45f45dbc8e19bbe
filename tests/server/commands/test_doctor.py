"""``stb doctor`` names what is wrong and says what to do; each fault is real and seeded one at a time."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

import services
from command_line import Ended
from conftest import REPOSITORY
from foreign_folder import stb_in_a_foreign_folder
from llm_server import Answer, LLMServer, obliging, status, text
from stb_core.store import open_store
from virtual_server import put_weather, recorded

Run = Callable[..., Ended]


def problems(ended: Ended) -> dict[str, str]:
    """The remedies by the names of problems."""
    return {row["problem"]: row["remedy"] for row in ended.document["rows"] if row["problem"]}


def seed(url: str) -> None:
    """A store with one small dataset."""

    async def fill() -> None:
        store = await open_store(url)
        await put_weather(store, recorded({"city": "Bonn"}))
        await store.close()

    asyncio.run(fill())


async def empty(url: str) -> None:
    """A store with nothing in it."""
    store = await open_store(url)
    await store.close()


@pytest.fixture
def healthy(sqlite_store_url: str) -> str:
    """The test's store, filled."""
    seed(sqlite_store_url)
    return sqlite_store_url


def test_all_is_well(
    in_process: Run,
    healthy: str,
    redis_server: services.Redis,
    llm: LLMServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing wrong: no problem is named and the exit code is 0."""
    redis_server.execute("CONFIG", "SET", "maxmemory", "64mb")
    redis_server.execute("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    monkeypatch.setenv("VLLM_BASE_URL", llm.url)

    ended = in_process("doctor", "--json", "--redis-url", redis_server.url, "--model", "vllm/any")

    assert ({}, 0) == (problems(ended), ended.code)
    assert "by a schema" in ended.out


class Seeds:
    """Each method brings one thing out of order and gives the flags under which it shows."""

    def __init__(
        self, folder: Path, set_variable: Callable[[str, str], None], request: pytest.FixtureRequest
    ):
        self.folder = folder
        self.set = set_variable
        self.fixture = request.getfixturevalue

    def store_unreachable(self) -> list[str]:
        self.set("STB_DATABASE_URL", f"postgresql://stb@127.0.0.1:{services.free_port()}/stb")
        return []

    def store_unwritable(self) -> list[str]:
        (self.folder / "file").write_text("not a folder")
        self.set("STB_DATABASE_URL", f"sqlite:///{self.folder}/file/store.db")
        return []

    def store_damaged(self) -> list[str]:
        (self.folder / "damaged.db").write_bytes(b"these are no pages" * 1000)
        self.set("STB_DATABASE_URL", f"sqlite:///{self.folder}/damaged.db")
        return []

    def store_url_invalid(self) -> list[str]:
        self.set("STB_DATABASE_URL", "the big database")
        return []

    def store_read_only(self) -> list[str]:
        url = self.fixture("postgres_url")
        self.set("STB_DATABASE_URL", url)

        async def freeze() -> None:
            connection = await asyncpg.connect(url)
            name = url.rpartition("/")[2]
            await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
            await connection.close()

        asyncio.run(freeze())
        return []

    def store_driver_missing(self) -> list[str]:
        self.fixture("monkeypatch").setitem(sys.modules, "asyncpg", None)
        self.set("STB_DATABASE_URL", "postgresql://stb@127.0.0.1/stb")
        return []

    def no_dataset(self) -> list[str]:
        self.set("STB_DATABASE_URL", f"sqlite:///{self.folder}/empty.db")
        asyncio.run(empty(f"sqlite:///{self.folder}/empty.db"))
        return []

    def temporary_unwritable(self) -> list[str]:
        self.fixture("monkeypatch").setattr(tempfile, "tempdir", str(self.folder / "nowhere"))
        return []

    def schema_newer(self) -> list[str]:
        with closing(sqlite3.connect(self.folder / "store.db")) as store, store:
            store.execute("UPDATE alembic_version SET version_num = '9000'")
        return []

    def schema_behind(self) -> list[str]:
        with closing(sqlite3.connect(self.folder / "store.db")) as store, store:
            store.execute("UPDATE alembic_version SET version_num = '0000'")
        return []

    def clock_behind(self) -> list[str]:
        with closing(sqlite3.connect(self.folder / "store.db")) as store, store:
            store.execute("UPDATE datasets SET created_at = '2126-01-01T00:00:00.000000+00:00'")
        return []

    def dataset_missing(self) -> list[str]:
        return ["--dataset", "toolbench"]

    def disk_low(self) -> list[str]:
        return ["--min-free-mb", "1000000000"]

    def redis_unreachable(self) -> list[str]:
        return ["--redis-url", f"redis://127.0.0.1:{services.free_port()}/0"]

    def redis_refused(self) -> list[str]:
        redis = self.fixture("redis_server")
        redis.execute("CONFIG", "SET", "requirepass", "long-and-secret")
        return ["--redis-url", redis.url]

    def redis_unbounded(self) -> list[str]:
        return ["--redis-url", self.fixture("redis_server").url]

    def redis_never_forgets(self) -> list[str]:
        redis = self.fixture("redis_server")
        redis.execute("CONFIG", "SET", "maxmemory", "64mb")
        return ["--redis-url", redis.url]

    def redis_url_invalid(self) -> list[str]:
        return ["--redis-url", "somewhere"]

    def upstream_invalid(self) -> list[str]:
        (self.folder / "real.toml").write_text("[limits]\nunknown = 1\n")
        return ["--upstream", "real.toml"]

    def server_unreachable(self) -> list[str]:
        return ["--server", f"http://127.0.0.1:{services.free_port()}"]

    def model_endpoint_missing(self) -> list[str]:
        return ["--judge", "vllm/judge"]

    def model_unreachable(self) -> list[str]:
        self.set("VLLM_BASE_URL", f"http://127.0.0.1:{services.free_port()}/v1")
        return ["--model", "vllm/any"]

    def model_key_refused(self) -> list[str]:
        llm = self.fixture("llm")
        llm.behaviour.required_key = "the right one"
        self.set("VLLM_BASE_URL", llm.url)
        self.set("VLLM_API_KEY", "the wrong one")
        return ["--model", "vllm/any"]

    def model_unknown(self) -> list[str]:
        llm = self.fixture("llm")
        llm.answer(status(404, "The model `any` does not exist."))
        self.set("VLLM_BASE_URL", llm.url)
        return ["--model", "vllm/any"]

    def model_without_structured_output(self) -> list[str]:
        llm = self.fixture("llm")
        llm.behaviour.refused_formats = frozenset({"json_schema", "json_object"})
        self.set("VLLM_BASE_URL", llm.url)
        return ["--simulator-model", "vllm/any"]

    def model_without_schema(self) -> list[str]:
        llm = self.fixture("llm")
        llm.behaviour.refused_formats = frozenset({"json_schema"})
        llm.rule = lambda _: text('{"verdict": "green"}')
        self.set("VLLM_BASE_URL", llm.url)
        return ["--simulator-model", "vllm/any"]

    def model_without_function_calls(self) -> list[str]:
        llm = self.fixture("llm")
        llm.rule = lambda body: text("read_weather(city='Bonn')") if body.get("tools") else obliging(body)
        self.set("VLLM_BASE_URL", llm.url)
        return ["--model", "vllm/any"]

    def model_reply_empty(self) -> list[str]:
        llm = self.fixture("llm")
        thought = Answer({"content": None, "reasoning_content": "Let me think."}, finish_reason="length")
        llm.rule = lambda body: thought if body.get("tools") else obliging(body)
        self.set("VLLM_BASE_URL", llm.url)
        return ["--model", "vllm/any"]

    def model_context_short(self) -> list[str]:
        llm = self.fixture("llm")
        llm.behaviour.context_length = 4096
        self.set("VLLM_BASE_URL", llm.url)
        return ["--judge", "vllm/any"]

    def exposed_without_token(self) -> list[str]:
        self.set("STB_HOST", "0.0.0.0")
        return []

    def token_short(self) -> list[str]:
        (self.folder / "stb.toml").write_text('[serve]\nhost = "0.0.0.0"\ntoken = "hunter2"\n')
        return []

    def tokens_unusable(self) -> list[str]:
        one = f'sha256 = "{"0" * 64}"\n'
        (self.folder / "tokens.toml").write_text(f"[rita]\n{one}[otto]\n{one}")
        return ["--tokens-file", "tokens.toml"]

    def tokens_writable(self) -> list[str]:
        (self.folder / "tokens.toml").write_text(f'[rita]\nsha256 = "{"0" * 64}"\n')
        (self.folder / "tokens.toml").chmod(0o666)
        return ["--tokens-file", "tokens.toml"]

    def tokens_shared(self) -> list[str]:
        self.set("STB_TOKEN", "0123456789abcdef")
        hashed = hashlib.sha256(b"0123456789abcdef").hexdigest()
        (self.folder / "tokens.toml").write_text(f'[rita]\nsha256 = "{hashed}"\n')
        return ["--tokens-file", "tokens.toml"]

    def tokens_empty(self) -> list[str]:
        (self.folder / "tokens.toml").write_text("")
        return ["--tokens-file", "tokens.toml"]

    def write_token_shared(self) -> list[str]:
        self.set("STB_TOKEN", "0123456789abcdef")
        self.set("STB_WRITE_TOKEN", "0123456789abcdef")
        return []

    def private_addresses_allowed(self) -> list[str]:
        (self.folder / "real.toml").write_text('[limits]\nallowed_networks = ["10.0.0.0/8"]\n')
        return ["--upstream", "real.toml"]

    def upstream_key_missing(self) -> list[str]:
        (self.folder / "real.toml").write_text('[proxy]\nurl = "https://a.example"\nkey_variable = "A_KEY"\n')
        return ["--upstream", "real.toml"]

    def env_readable(self) -> list[str]:
        (self.folder / ".env").write_text("OPENAI_API_KEY=sk-something\n")
        (self.folder / ".env").chmod(0o644)
        return []


EXPECTED = {
    "store-unreachable": (1, "Start PostgreSQL"),
    "store-unwritable": (1, "STB_DATABASE_URL"),
    "store-damaged": (1, "stb restore"),
    "store-url-invalid": (1, "postgresql://"),
    "store-read-only": (1, "primary"),
    "store-driver-missing": (1, "stabletoolbench[postgres]"),
    "no-dataset": (0, "stb data import"),
    "temporary-unwritable": (1, "TMPDIR"),
    "redis-never-forgets": (0, "allkeys-lru"),
    "redis-url-invalid": (1, "redis://"),
    "upstream-invalid": (1, "Fix the file"),
    "schema-newer": (1, "Upgrade stabletoolbench"),
    "schema-behind": (0, "stb backup"),
    "clock-behind": (1, "timedatectl"),
    "dataset-missing": (1, "stb data import PATH --name toolbench"),
    "disk-low": (1, "Free some space"),
    "redis-unreachable": (1, "STB_REDIS_URL"),
    "redis-refused": (1, "password"),
    "redis-unbounded": (0, "--maxmemory"),
    "server-unreachable": (1, "STB_SERVER"),
    "model-endpoint-missing": (1, "VLLM_BASE_URL"),
    "model-unreachable": (1, "VLLM_BASE_URL"),
    "model-key-refused": (1, "VLLM_API_KEY"),
    "model-unknown": (1, "VLLM_BASE_URL"),
    "model-without-structured-output": (0, "vLLM"),
    "model-without-schema": (0, "json_schema"),
    "model-without-function-calls": (0, "--tool-call-parser"),
    "model-reply-empty": (0, "more tokens"),
    "model-context-short": (0, "--max-model-len"),
    "exposed-without-token": (1, "STB_TOKEN"),
    "token-short": (0, "openssl rand"),
    "tokens-unusable": (1, "sha256"),
    "tokens-writable": (1, "chmod go-w"),
    "tokens-shared": (0, "STB_TOKEN"),
    "tokens-empty": (0, "Add somebody"),
    "write-token-shared": (0, "STB_WRITE_TOKEN"),
    "private-addresses-allowed": (0, "allowed_networks"),
    "upstream-key-missing": (1, "in .env"),
    "env-readable": (0, "chmod 600"),
}


@pytest.mark.parametrize("problem", EXPECTED)
def test_it_names_what_is_wrong_and_what_to_do(
    problem: str,
    in_process: Run,
    healthy: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """Each seeded misconfiguration is named, alone, with its remedy; only failures make the exit code 1."""
    code, remedy = EXPECTED[problem]
    flags = getattr(Seeds(tmp_path, monkeypatch.setenv, request), problem.replace("-", "_"))()

    ended = in_process("doctor", "--json", *flags)

    found = problems(ended)
    assert [problem] == list(found)
    assert remedy in found[problem]
    assert code == ended.code


def test_it_names_an_outdated_package(
    in_process: Run, healthy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A required package that is too old is named, with both versions."""
    info = tmp_path / "site" / "fastapi-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fastapi\nVersion: 0.1.0\n")
    monkeypatch.setattr(sys, "path", [str(info.parent), *sys.path])

    ended = in_process("doctor", "--json")

    assert (["package-outdated"], 1) == (list(problems(ended)), ended.code)
    assert "fastapi 0.1.0 is older than 0.133" in ended.out


def found(ended: Ended, check: str) -> str:
    """What a check of that name found."""
    [text] = [row["found"] for row in ended.document["rows"] if row["check"] == check]
    return str(text)


def test_it_speaks_of_the_server_in_use(
    in_process: Run, healthy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one on another host is named, nothing is said of an address that no server here would take."""
    monkeypatch.setenv("STB_HOST", "0.0.0.0")

    ended = in_process("doctor", "--json", "--server", "http://nowhere.invalid:8080")

    assert ["server-unreachable"] == list(problems(ended))
    assert found(ended, "address").startswith("the server is http://nowhere.invalid:8080")


def test_it_tells_what_a_simulator_or_judge_can(
    in_process: Run, healthy: str, llm: LLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Structured output, context and function calls; no problem is made of functions that only agents need."""
    llm.behaviour.context_length = 16384
    llm.rule = lambda body: status(400, "no functions here") if body.get("tools") else obliging(body)
    monkeypatch.setenv("JUDGE_BASE_URL", llm.url)
    monkeypatch.setenv("SIMULATOR_BASE_URL", "http://nowhere.invalid:8000/v1")
    monkeypatch.setenv("STB_MODEL_IF_THERE", "simulator/any judge/any")

    ended = in_process("doctor", "--json")

    assert ({}, 0) == (problems(ended), ended.code)
    assert "not started: there is no host nowhere.invalid" == found(ended, "model simulator/any")
    assert "by a schema" == found(ended, "model judge/any: structured output")
    assert "16,384 tokens" == found(ended, "model judge/any: context")
    assert "no functions here" in found(ended, "model judge/any: function calls")
    assert "only agents need them" in found(ended, "model judge/any: function calls")


def test_it_tells_that_a_model_thinks_first(
    in_process: Run, healthy: str, llm: LLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its server keeps the thoughts apart or not; they are no problem."""

    def think(body: dict[str, object]) -> Answer:
        said = obliging(body).message or {}
        if body.get("tools"):
            return Answer({**said, "reasoning_content": "Hm."})
        return text(f"<think>Green or blue?</think>{said['content']}")

    llm.rule = think
    monkeypatch.setenv("VLLM_BASE_URL", llm.url)

    ended = in_process("doctor", "--json", "--model", "vllm/any")

    assert ({}, 0) == (problems(ended), ended.code)
    assert "by a schema, after thinking" == found(ended, "model vllm/any: structured output")
    assert "it calls functions, after thinking" == found(ended, "model vllm/any: function calls")


def test_it_says_what_was_wrong_with_the_replies(
    in_process: Run, healthy: str, llm: LLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a judge or simulator, a model that says nothing is told from one that uses up its tokens by thinking."""
    thought = Answer({"content": None, "reasoning_content": "Hm."}, finish_reason="length")
    monkeypatch.setenv("VLLM_BASE_URL", llm.url)
    seen = {}
    for name, answer in {
        "empty": text(""),
        "thoughts": thought,
        "cut": text("{", finish_reason="length"),
    }.items():
        llm.rule = lambda body, answer=answer: answer if body.get("response_format") else obliging(body)
        ended = in_process("doctor", "--json", "--judge", "vllm/any")
        seen[name] = found(ended, "model vllm/any: structured output")

    assert "all are empty" in seen["empty"]
    assert "all hold only thoughts and reached the limit on tokens" in seen["thoughts"]
    assert "all reached the limit on tokens" in seen["cut"]


def test_a_slow_model_can_be_given_time(
    in_process: Run, healthy: str, llm: LLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remedy names the flag."""
    llm.behaviour.held = True
    monkeypatch.setenv("VLLM_BASE_URL", llm.url)

    ended = in_process("doctor", "--json", "--judge", "vllm/any", "--model-timeout", "1")

    assert "--model-timeout" in problems(ended)["model-unreachable"]


def test_it_checks_a_model_with_several_roles_once(
    in_process: Run, healthy: str, llm: LLMServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an agent, which needs the most; no role is said to need less."""
    llm.rule = obliging
    monkeypatch.setenv("JUDGE_BASE_URL", llm.url)
    monkeypatch.setenv("STB_MODEL_IF_THERE", "judge/any")

    ended = in_process("doctor", "--json", "--model", "judge/any", "--judge", "judge/any")

    checks = [row["check"] for row in ended.document["rows"] if row["check"].startswith("model judge/any")]
    assert len(checks) == len(set(checks))
    assert "model judge/any: function calls" in checks


@pytest.mark.linux
def test_it_notices_a_working_folder_that_takes_no_files(tmp_path: Path) -> None:
    """As the runner's folder is where Docker made it: it belongs to another user."""
    done = stb_in_a_foreign_folder(tmp_path, "doctor", "--json")

    rows = [row for row in json.loads(done.stdout)["rows"] if row["problem"]]
    assert ["working-folder-unwritable"] == [row["problem"] for row in rows], done.stderr
    assert "RUNNER_USER" in rows[0]["remedy"]


def test_it_changes_nothing(in_process: Run, tmp_path: Path) -> None:
    """Where there is no store it makes none, and does not fail."""
    (tmp_path / "store.db").unlink()

    ended = in_process("doctor", "--json")

    assert (0, []) == (ended.code, sorted(tmp_path.iterdir()))


def test_it_shows_no_secret(in_process: Run, healthy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords of addresses that fail are not printed."""
    port = services.free_port()
    monkeypatch.setenv("STB_DATABASE_URL", f"postgresql://stb:hush-hush@127.0.0.1:{port}/stb")

    ended = in_process("doctor", "--redis-url", f"redis://stb:hush-hush@127.0.0.1:{port}/0")

    assert 1 == ended.code
    assert "hush-hush" not in ended.out + ended.err


def test_every_problem_is_documented() -> None:
    """Each name that a check can give stands in ``docs/operations.md``."""
    sources = (REPOSITORY / "server/stb_server/commands/doctor_checks").glob("*.py")
    names = {
        name
        for source in sources
        for name in re.findall(r'"([a-z]+(?:-[a-z]+)+)"', source.read_text())
        if name != "utf-8"
    }

    page = (REPOSITORY / "docs/operations.md").read_text()

    assert set() == {name for name in names if f"`{name}`" not in page}
    assert set(EXPECTED) <= names
