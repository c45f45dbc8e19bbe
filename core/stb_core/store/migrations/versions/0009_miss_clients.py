"""Who brought a miss: the name of the client's token."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the column; of earlier misses nobody knows."""
    op.add_column("misses", sa.Column("client", sa.String(length=40), server_default="", nullable=False))
