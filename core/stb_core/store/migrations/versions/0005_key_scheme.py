"""The scheme by which the keys of a dataset's calls were made; until now there was only the first."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column."""
    op.add_column("datasets", sa.Column("key_scheme", sa.Integer(), server_default="1", nullable=False))
