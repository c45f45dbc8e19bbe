"""What brought a verdict, and one readable verdict for each question; see docs/decisions/claims.md."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_QUESTION = (
    "run",
    "metric",
    "judge",
    "rubric",
    "source",
    "group",
    "query_id",
    "trial",
    "round",
    "answer_hash",
)


def upgrade() -> None:
    """Add the columns, fill them from what the store knows, and make verdicts unique."""
    op.add_column("verdicts", sa.Column("source", sa.String(length=200), server_default="", nullable=False))
    op.add_column("verdicts", sa.Column("is_foreign", sa.Integer(), server_default="0", nullable=False))
    op.add_column("verdicts", sa.Column("is_repeat", sa.Integer(), server_default="0", nullable=False))
    _name_sources(op.get_bind())
    _mark_repeats(op.get_bind())
    readable = sa.text("status <> 'error' AND is_repeat = 0")
    op.create_index(
        "ix_verdicts_readable",
        "verdicts",
        list(_QUESTION),
        unique=True,
        sqlite_where=readable,
        postgresql_where=readable,
    )


def _name_sources(connection: sa.Connection) -> None:
    """Recorded verdicts came with files, and those of a run that a bundle made came with the bundle.

    Verdicts by rules stay as they are: they were computed again when they came.
    """
    verdicts = sa.table("verdicts", sa.column("run"), sa.column("judge"), sa.column("source"))
    runs = sa.table("runs", sa.column("run"), sa.column("manifest", sa.JSON()))
    recorded = verdicts.c.judge == "recorded"
    connection.execute(verdicts.update().where(recorded).values(source="a file"))
    for run, manifest in connection.execute(sa.select(runs.c.run, runs.c.manifest)).all():
        mine = verdicts.c.run == run
        if manifest.get("imported_from"):
            values = {"source": manifest["imported_from"][:200]}
            connection.execute(verdicts.update().where(mine, recorded).values(values))
        if manifest.get("brought_by_a_bundle"):
            others = verdicts.c.judge != "rules"
            connection.execute(verdicts.update().where(mine, others).values(source="a bundle"))


def _mark_repeats(connection: sa.Connection) -> None:
    """Two sessions could write the same verdict; the log keeps both, and the first counts."""
    columns: list[sa.ColumnClause[object]] = [sa.column(name) for name in _QUESTION]
    verdicts = sa.table("verdicts", sa.column("id"), sa.column("status"), sa.column("is_repeat"), *columns)
    v = verdicts.c
    readable = v.status != "error"
    first = sa.select(sa.func.min(v.id)).where(readable).group_by(*(v[name] for name in _QUESTION))
    connection.execute(verdicts.update().where(readable, v.id.not_in(first)).values(is_repeat=1))
