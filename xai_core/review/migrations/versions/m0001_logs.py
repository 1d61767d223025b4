"""The first tables, and the triggers that let nobody change or remove a row."""

from alembic import op

from xai_core.review.migrations import only_append
from xai_core.review.tables import metadata

revision, down_revision = "0001", None
FIRST = (
    "people", "rounds", "items", "thumbnails", "maps", "round_log", "members", "votes", "looks", "verdicts", "notes",
)  # fmt: skip


def upgrade() -> None:
    """These tables have not changed since, so that those of today are the first ones."""
    bind = op.get_bind()
    first = [table for table in metadata.sorted_tables if table.name in FIRST]
    metadata.create_all(bind, tables=first)
    if bind.dialect.name == "postgresql":
        op.execute(only_append.FUNCTION)
    only_append.make(first)
