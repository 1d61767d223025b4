"""The triggers that let nobody change or remove a row."""

from collections.abc import Iterable

from alembic import op
from sqlalchemy import Table

FUNCTION = (
    "CREATE FUNCTION only_append() RETURNS trigger AS $$ BEGIN "
    "RAISE EXCEPTION 'rows of % are never changed', TG_TABLE_NAME; END $$ LANGUAGE plpgsql"
)  # of PostgreSQL, made once


def make(tables: Iterable[Table]) -> None:
    """Give each table its triggers."""
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    for table in tables:
        if on_postgresql:
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
