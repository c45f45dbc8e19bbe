"""Work that processes claim: its pieces, who does them, and what they are told."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the tables; their rows are made from manifests and logs, when a run is continued."""
    op.create_table(
        "work",
        _run(),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=8), server_default="open", nullable=False),
        sa.Column("is_left", sa.Integer(), server_default="1", nullable=False),
        sa.Column("owner", sa.String(length=32), server_default="", nullable=False),
        sa.Column("until", sa.Float(), server_default="0", nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        _of_a_run("work"),
        sa.PrimaryKeyConstraint("run", "kind", "item", name="pk_work"),
        postgresql_with={"fillfactor": 70},
    )
    left = sa.text("is_left = 1")
    op.create_index(
        "ix_work_left", "work", ["run", "kind", "position"], sqlite_where=left, postgresql_where=left
    )
    op.create_table(
        "workers",
        sa.Column("owner", sa.String(length=32), nullable=False),
        _run(),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("part", sa.Text(), server_default="", nullable=False),
        sa.Column("machine", sa.String(length=200), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("done", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        _of_a_run("workers"),
        sa.PrimaryKeyConstraint("owner", name="pk_workers"),
    )
    op.create_index("ix_workers_run", "workers", ["run"])
    op.create_table(
        "work_orders",
        _run(),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("mode", sa.String(length=8), server_default="go", nullable=False),
        sa.Column("late", sa.BigInteger(), server_default="0", nullable=False),
        _of_a_run("work_orders"),
        sa.PrimaryKeyConstraint("run", "kind", "part", name="pk_work_orders"),
    )


def _run() -> sa.Column[str]:
    return sa.Column("run", sa.String(length=200), nullable=False)


def _of_a_run(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["run"], ["runs.run"], name=f"fk_{table}_run", ondelete="CASCADE")
