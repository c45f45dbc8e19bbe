"""What people did with responses; and an index of names that counting and paging read alone."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the table, and put the wider index in the place of the narrow one."""
    op.create_table(
        "response_events",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.id"], name="fk_response_events_dataset_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_response_events"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_response_events_dataset_id_key", "response_events", ["dataset_id", "key"], unique=False
    )
    op.drop_index("ix_responses_dataset_id_category_tool_api", "responses")
    op.create_index(
        "ix_responses_names",
        "responses",
        ["dataset_id", "category", "tool", "api", "id", "provenance", "superseded_at"],
        unique=False,
    )
