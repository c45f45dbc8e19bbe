"""Attempts of agents that run elsewhere, and what was done in them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add both tables."""
    op.create_table(
        "episodes",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("client", sa.String(length=64), nullable=False),
        sa.Column("run", sa.String(length=200), nullable=True),
        sa.Column("group", sa.String(length=100), nullable=False),
        sa.Column("query_id", sa.String(length=100), nullable=False),
        sa.Column("trial", sa.Integer(), nullable=False),
        sa.Column("terms", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.Column("expires_at", sa.String(length=32), nullable=False),
        sa.Column("tool_calls", sa.Integer(), server_default="0", nullable=False),
        sa.Column("model_calls", sa.Integer(), server_default="0", nullable=False),
        sa.Column("stop", sa.String(length=32), nullable=True),
        sa.Column("final_answer", sa.Text(), server_default="", nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("ended_at", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(["run"], ["runs.run"], name="fk_episodes_run", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_episodes"),
        sa.UniqueConstraint("token_hash", name="uq_episodes_token_hash"),
    )
    op.create_index("ix_episodes_client_stop", "episodes", ["client", "stop"], unique=False)
    op.create_index("ix_episodes_stop_expires_at", "episodes", ["stop", "expires_at"], unique=False)
    op.create_index(
        "ix_episodes_open",
        "episodes",
        ["run", "group", "query_id", "trial"],
        unique=True,
        sqlite_where=sa.text("stop IS NULL"),
        postgresql_where=sa.text("stop IS NULL"),
    )
    op.create_table(
        "episode_events",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("episode", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("call_id", sa.String(length=100), nullable=True),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("answered", sa.Integer(), server_default="0", nullable=False),
        sa.Column("seconds", sa.Float(), server_default="0", nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["episode"], ["episodes.id"], name="fk_episode_events_episode", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_episode_events"),
        sa.UniqueConstraint("episode", "call_id", name="uq_episode_events_episode_call_id"),
        sqlite_autoincrement=True,
    )
