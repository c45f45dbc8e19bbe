"""Keys of scheme 2: calls that hold a null for an optional parameter get the key that they have without it."""

import logging

import sqlalchemy as sa
from alembic import op

from stb_core.store.nulls_in_keys import renew_keys

revision = "0007"
down_revision = "0006"

_log = logging.getLogger(__name__)


def upgrade() -> None:
    """Make the keys anew, and say what was merged."""
    connection = op.get_bind()
    for dataset_id, name in connection.execute(sa.text("SELECT id, name FROM datasets ORDER BY id")).all():
        for merged in renew_keys(connection, dataset_id):
            _log.warning(
                "the dataset %s holds a call of %s twice, as %s and as %s, where null is not given; the first answer "
                "is kept%s",
                *(name, "/".join(merged.api), merged.kept.decode(), merged.dropped.decode()),
                ", and the other says the same" if merged.same_body else "",
            )
    connection.execute(sa.text("UPDATE datasets SET key_scheme = 2"))
