"""What the processes of a run have spent, and what they may spend still."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Make the table; what a run has cost so far is counted when it is continued."""
    op.create_table(
        "cost_shares",
        sa.Column("run", sa.String(length=200), nullable=False),
        sa.Column("owner", sa.String(length=32), nullable=False),
        sa.Column("spent_usd", sa.Float(), server_default="0", nullable=False),
        sa.Column("reserved_usd", sa.Float(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.run"], name="fk_cost_shares_run", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run", "owner", name="pk_cost_shares"),
    )
