"""Queries that come with a run, so that it can be judged and exported where its dataset is not."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "run_queries",
        sa.Column("run", sa.String(length=200), nullable=False),
        sa.Column("group", sa.String(length=100), nullable=False),
        sa.Column("query_id", sa.String(length=100), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.run"], name="fk_run_queries_run", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run", "group", "query_id", name="pk_run_queries"),
    )
