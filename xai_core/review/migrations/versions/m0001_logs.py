"""The first tables, and the triggers that let nobody change or remove a row."""

from alembic import op
from sqlalchemy import MetaData

from xai_core.review.tables import metadata

revision, down_revision = "0001", None


def upgrade() -> None:
    bind = op.get_bind()
    _first_tables().create_all(bind)
    if bind.dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION only_append() RETURNS trigger AS $$ BEGIN "
            "RAISE EXCEPTION 'rows of % are never changed', TG_TABLE_NAME; END $$ LANGUAGE plpgsql"
        )
    for table in _first_tables().sorted_tables:
        if bind.dialect.name == "postgresql":
            op.execute(
                f"CREATE TRIGGER only_append BEFORE UPDATE OR DELETE ON {table.name} "
                "FOR EACH ROW EXECUTE FUNCTION only_append()"
            )
            continue
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table.name}_no_{change.lower()} BEFORE {change} ON {table.name} "
                f"BEGIN SELECT RAISE(ABORT, 'rows of {table.name} are never changed'); END"
            )


def _first_tables() -> MetaData:
    """As long as this is the only migration, the tables of today are the first ones."""
    return metadata
