"""The schema of the store. Migrations under ``migrations/`` build exactly this; a test compares them.

Responses, trajectories and verdicts are append-only: a newer answer to a call is a further version,
a repeated trial a further attempt. Times are UTC, as ISO 8601 text with microseconds.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import JSON

from stb_core.values import KEY_SCHEME

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only for a column of exactly this type.
_Id = BigInteger().with_variant(Integer, "sqlite")

datasets = Table(
    "datasets",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("version", String(100), nullable=False, default="", server_default=""),
    Column("content_hash", String(64), nullable=False, default="", server_default=""),
    # Sum over all current responses, see stb_core.values.fingerprint; moves with every write.
    Column("responses_fingerprint", LargeBinary),
    Column("responses_count", BigInteger, nullable=False, default=0, server_default="0"),
    # Counts the times that responses were taken out of force: caches follow it.
    Column("changes", BigInteger, nullable=False, default=0, server_default="0"),
    Column("source", Text, nullable=False, default="", server_default=""),
    Column("created_at", String(32), nullable=False),
    # How the keys of its calls were made, see stb_core.values.calls.
    Column("key_scheme", Integer, nullable=False, default=KEY_SCHEME, server_default="1"),
)

tools = Table(
    "tools",
    metadata,
    Column("dataset_id", ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True),
    Column("category", String(256), primary_key=True),
    Column("tool", String(256), primary_key=True),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    # The document without its api_list, fields we do not know included.
    Column("document", JSON, nullable=False),
)

apis = Table(
    "apis",
    metadata,
    Column("dataset_id", ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True),
    Column("category", String(256), primary_key=True),
    Column("tool", String(256), primary_key=True),
    Column("api", String(256), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("document", JSON, nullable=False),
)

queries = Table(
    "queries",
    metadata,
    Column("dataset_id", ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True),
    Column("group", String(100), primary_key=True),
    Column("query_id", String(100), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("document", JSON, nullable=False),
)

responses = Table(
    "responses",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("dataset_id", ForeignKey("datasets.id", ondelete="CASCADE"), nullable=False),
    Column("key", String(64), nullable=False),
    Column("version", Integer, nullable=False, default=1),
    Column("category", String(256), nullable=False),
    Column("tool", String(256), nullable=False),
    Column("api", String(256), nullable=False),
    # Canonical JSON (RFC 8785), and the exact bytes that clients get.
    Column("arguments", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("provenance", String(32), nullable=False),
    Column("created_at", String(32), nullable=False),
    # Model, prompt hash and seed of a simulated answer; status and source of a recorded one.
    Column("details", JSON),
    Column("superseded_at", String(32)),
    # The dataset's change that took it out of force.
    Column("superseded_in", BigInteger),
    Column("pinned", Integer, nullable=False, default=0, server_default="0"),
    UniqueConstraint("dataset_id", "key", "version"),
    # Beyond the names: the order of pages, and what is counted, so that counting reads this index alone.
    Index(
        "ix_responses_names",
        *("dataset_id", "category", "tool", "api"),
        *("id", "provenance", "superseded_at"),
    ),
    sqlite_autoincrement=True,
)

response_events = Table(
    "response_events",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("dataset_id", ForeignKey("datasets.id", ondelete="CASCADE"), nullable=False),
    # Of a call, whose responses may be gone.
    Column("key", String(64), nullable=False),
    # See stb_core.store.curation.
    Column("kind", String(16), nullable=False),
    Column("text", Text, nullable=False),
    Column("details", JSON, nullable=False),
    Column("created_at", String(32), nullable=False),
    Index("ix_response_events_dataset_id_key", "dataset_id", "key"),
    sqlite_autoincrement=True,
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("dataset_id", ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True),
    Column("hash", String(64), primary_key=True),
    Column("last_id", BigInteger, nullable=False),
    Column("changes", BigInteger, nullable=False),
    Column("responses_count", BigInteger, nullable=False),
    Column("created_at", String(32), nullable=False),
)

episode_calls = Table(
    "episode_calls",
    metadata,
    # In the order in which they were answered.
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("dataset_id", ForeignKey("datasets.id", ondelete="CASCADE"), nullable=False),
    Column("episode", String(200), nullable=False),
    Column("category", String(256), nullable=False),
    Column("tool", String(256), nullable=False),
    Column("api", String(256), nullable=False),
    Column("arguments", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", String(32), nullable=False),
    Index("ix_episode_calls_dataset_id_episode", "dataset_id", "episode"),
    sqlite_autoincrement=True,
)

misses = Table(
    "misses",
    metadata,
    Column("dataset_id", ForeignKey("datasets.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("category", String(256), nullable=False),
    Column("tool", String(256), nullable=False),
    Column("api", String(256), nullable=False),
    Column("arguments", LargeBinary, nullable=False),
    Column("count", BigInteger, nullable=False, default=1),
    Column("first_at", String(32), nullable=False),
    Column("last_at", String(32), nullable=False),
    # The recorded call of the same API whose arguments are most alike, and how alike, 0 to 1.
    Column("nearest_key", String(64)),
    Column("nearest_arguments", LargeBinary),
    Column("nearest_similarity", Float),
    # The name of the client that made this call first; "" where its token has none.
    Column("client", String(40), nullable=False, server_default=""),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("token", String(32), nullable=False),
    Column("expires_at", String(32), nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("run", String(200), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("dataset", String(200), nullable=False),
    Column("agent", String(200), nullable=False),
    Column("model", String(200)),
    Column("manifest", JSON, nullable=False),
    Column("manifest_hash", String(64), nullable=False),
    # Group name -> ids of the queries that this run is to answer: the denominator of its scores.
    Column("expected", JSON, nullable=False),
    Column("trials", Integer, nullable=False, default=1),
    Column("created_at", String(32), nullable=False),
)

# What is to be done for a run, see docs/decisions/claims.md.
work = Table(
    "work",
    metadata,
    Column("run", ForeignKey("runs.run", ondelete="CASCADE"), primary_key=True),
    Column("kind", String(32), primary_key=True),
    # JSON: a trial's place, or a question to a judge.
    Column("item", Text, primary_key=True),
    # Pieces of a kind are claimed in this order.
    Column("position", BigInteger, nullable=False),
    # open, claimed, done or failed.
    Column("state", String(8), nullable=False, default="open", server_default="open"),
    # 1 while open or claimed. Beside the state, so that no index holds what a claim changes.
    Column("is_left", Integer, nullable=False, default=1, server_default="1"),
    # The worker that holds it, or held it last.
    Column("owner", String(32), nullable=False, default="", server_default=""),
    # When the lease ends: seconds since 1970 by the clock of the database.
    Column("until", Float, nullable=False, default=0.0, server_default="0"),
    # Grows with every claim; a result counts only with the number of the claim under which it was made.
    Column("fence", BigInteger, nullable=False, default=0, server_default="0"),
    # How often it was claimed without being given back.
    Column("tries", Integer, nullable=False, default=0, server_default="0"),
    Index(
        "ix_work_left",
        *("run", "kind", "position"),
        sqlite_where=text("is_left = 1"),
        postgresql_where=text("is_left = 1"),
    ),
    postgresql_with={"fillfactor": 70},
)

# Processes that do work of a run now; times are seconds since 1970 by the clock of the database.
workers = Table(
    "workers",
    metadata,
    # See stb_core.values.processes.
    Column("owner", String(32), primary_key=True),
    Column("run", ForeignKey("runs.run", ondelete="CASCADE"), nullable=False, index=True),
    Column("kind", String(32), nullable=False),
    # Which work of that kind: of a judge, its metric, name and rubric.
    Column("part", Text, nullable=False, default="", server_default=""),
    Column("machine", String(200), nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("slots", Integer, nullable=False),
    # Results that counted.
    Column("done", BigInteger, nullable=False, default=0, server_default="0"),
    Column("started_at", Float, nullable=False),
    Column("until", Float, nullable=False),
)

# What all processes that do a part of the work of a run are told.
work_orders = Table(
    "work_orders",
    metadata,
    Column("run", ForeignKey("runs.run", ondelete="CASCADE"), primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("part", Text, primary_key=True),
    # go, paused or drained.
    Column("mode", String(8), nullable=False, default="go", server_default="go"),
    # Results that were dropped because their claim was lost.
    Column("late", BigInteger, nullable=False, default=0, server_default="0"),
)

# What each process has spent of the limit on the cost of a run, and what it may spend still, in USD.
cost_shares = Table(
    "cost_shares",
    metadata,
    Column("run", ForeignKey("runs.run", ondelete="CASCADE"), primary_key=True),
    # See stb_core.values.processes; "" for all processes that have ended.
    Column("owner", String(32), primary_key=True),
    Column("spent_usd", Float, nullable=False, default=0.0, server_default="0"),
    Column("reserved_usd", Float, nullable=False, default=0.0, server_default="0"),
)

# Queries that came with a run whose dataset may not be here.
run_queries = Table(
    "run_queries",
    metadata,
    Column("run", ForeignKey("runs.run", ondelete="CASCADE"), primary_key=True),
    Column("group", String(100), primary_key=True),
    Column("query_id", String(100), primary_key=True),
    Column("document", Text, nullable=False),
)

trajectories = Table(
    "trajectories",
    metadata,
    Column("run", ForeignKey("runs.run", ondelete="CASCADE"), primary_key=True),
    Column("group", String(100), primary_key=True),
    Column("query_id", String(100), primary_key=True),
    Column("trial", Integer, primary_key=True),
    # A trial that infrastructure spoiled is tried again; the highest attempt counts.
    Column("attempt", Integer, primary_key=True),
    Column("stop", String(32), nullable=False),
    Column("document", Text, nullable=False),
    Column("content_hash", String(64), nullable=False),
    # Identity of what a judge may see; empty when there is no answer to judge.
    Column("answer_hash", String(64), nullable=False, default="", server_default=""),
    Column("created_at", String(32), nullable=False),
)

# Attempts of agents that run elsewhere and come over HTTP.
episodes = Table(
    "episodes",
    metadata,
    Column("id", String(40), primary_key=True),
    # SHA-256 of the token, which is kept nowhere.
    Column("token_hash", String(64), nullable=False, unique=True),
    # The address from which it was opened.
    Column("client", String(64), nullable=False),
    # None where the client that opened it keeps the record.
    Column("run", ForeignKey("runs.run", ondelete="CASCADE")),
    Column("group", String(100), nullable=False),
    Column("query_id", String(100), nullable=False),
    Column("trial", Integer, nullable=False),
    # What was agreed when it was opened, see stb_core.store.episode_records.
    Column("terms", JSON, nullable=False),
    Column("created_at", String(32), nullable=False),
    Column("expires_at", String(32), nullable=False),
    Column("tool_calls", Integer, nullable=False, default=0, server_default="0"),
    Column("model_calls", Integer, nullable=False, default=0, server_default="0"),
    # Why it ended; None while it is open.
    Column("stop", String(32)),
    Column("final_answer", Text, nullable=False, default="", server_default=""),
    Column("error", Text, nullable=False, default="", server_default=""),
    Column("ended_at", String(32)),
    Index("ix_episodes_client_stop", "client", "stop"),
    Index("ix_episodes_stop_expires_at", "stop", "expires_at"),
    Index(
        "ix_episodes_open",  # a trial has one open episode
        *("run", "group", "query_id", "trial"),
        unique=True,
        sqlite_where=text("stop IS NULL"),
        postgresql_where=text("stop IS NULL"),
    ),
)

episode_events = Table(
    "episode_events",
    metadata,
    # In the order in which they were begun.
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("episode", ForeignKey("episodes.id", ondelete="CASCADE"), nullable=False),
    Column("kind", String(16), nullable=False),
    # The agent's own name for a call, so that it can ask again after a lost connection.
    Column("call_id", String(100)),
    Column("document", Text, nullable=False),
    Column("answered", Integer, nullable=False, default=0, server_default="0"),
    Column("seconds", Float, nullable=False, default=0.0, server_default="0"),
    Column("created_at", String(32), nullable=False),
    UniqueConstraint("episode", "call_id"),
    sqlite_autoincrement=True,
)

model_calls = Table(
    "model_calls",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("run", ForeignKey("runs.run", ondelete="CASCADE"), nullable=False),
    Column("group", String(100), nullable=False),
    Column("query_id", String(100), nullable=False),
    Column("trial", Integer, nullable=False),
    # Same request asked for the n-th time within the trial.
    Column("request_hash", String(64), nullable=False),
    Column("occurrence", Integer, nullable=False),
    Column("reply", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
    UniqueConstraint("run", "group", "query_id", "trial", "request_hash", "occurrence"),
    sqlite_autoincrement=True,
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("run", ForeignKey("runs.run", ondelete="CASCADE"), nullable=False),
    Column("group", String(100), nullable=False),
    Column("query_id", String(100), nullable=False),
    Column("trial", Integer, nullable=False),
    Column("metric", String(32), nullable=False),
    Column("judge", String(200), nullable=False),
    Column("rubric", String(64), nullable=False),
    Column("round", Integer, nullable=False),
    Column("status", String(16), nullable=False),
    Column("answer_hash", String(64), nullable=False),
    Column("document", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
    # What brought the verdict; empty if it was asked for in this store.
    Column("source", String(200), nullable=False, default="", server_default=""),
    # 1 if it does not belong to its run, and counts only where it is asked for by its source.
    Column("is_foreign", Integer, nullable=False, default=0, server_default="0"),
    # 1 for those of older stores that say again what the log had; new ones are not added.
    Column("is_repeat", Integer, nullable=False, default=0, server_default="0"),
    Index("ix_verdicts_run_metric_judge", "run", "metric", "judge"),
    Index("ix_verdicts_answer_hash", "answer_hash"),
    Index(
        # What was judged, by whom, by which rules, in which round: there is one readable verdict. The hash of a
        # pair holds both answers in the order in which they were shown.
        "ix_verdicts_readable",
        *("run", "metric", "judge", "rubric", "source", "group", "query_id", "trial", "round", "answer_hash"),
        unique=True,
        sqlite_where=text("status <> 'error' AND is_repeat = 0"),
        postgresql_where=text("status <> 'error' AND is_repeat = 0"),
    ),
    sqlite_autoincrement=True,
)
