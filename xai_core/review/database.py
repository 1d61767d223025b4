"""The database of reviews: SQLite in `data/review.sqlite` with nothing to set up, or PostgreSQL by its URL.

`writing` and `reading` are the only ways in. Each is one transaction; on SQLite a writer takes its turn before it reads
(BEGIN IMMEDIATE) and waits for others up to WAIT_SECONDS. Errors of the database become sentences: nothing was saved, why,
and what to do.
"""

import functools
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    Table,
    create_engine,
    event,
    exc,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection

from xai_core.core import settings
from xai_core.core.errors import BadRequest
from xai_core.review import tables
from xai_core.review.people import Person

HEAD = "0002"  # the newest migration
WAIT_SECONDS = 30.0
ADVISORY_LOCK = 7_215_014  # of PostgreSQL: one process at a time makes the tables
STREAMLIT_CLOUD = Path("/mount/src")  # where it keeps the repository; its disk is emptied at each start


class StoreUnavailable(BadRequest):
    """The database of reviews cannot be used now; nothing was saved."""


class ReadOnly(BadRequest):
    """The app shows reviews and changes nothing (XAI_READONLY)."""

    def __init__(self) -> None:
        super().__init__("This is a public demonstration: it shows reviews and stores nothing. Run your own copy to write.")


class StaleEdit(BadRequest):
    """Somebody has changed this since its writer saw it; nothing was saved."""

    def __init__(self, what: str, who: str, at: datetime) -> None:
        super().__init__(
            f"{who} has changed {what} at {at:%Y-%m-%d %H:%M} UTC, after you opened it. Nothing was overwritten."
        )
        self.who, self.at = who, at


def open_database(url: str | None = None) -> Engine:
    """The store at a URL, by default that of XAI_REVIEW_DB or `data/review.sqlite`; its tables are made where they lack.

    Raises StoreUnavailable, and BadRequest for a URL of another kind of database.
    """
    return _opened(_url(url or settings.REVIEW_DB.value() or f"sqlite:///{settings.review_file()}"))


def _url(given: str) -> URL:
    try:
        url = make_url(given)
    except exc.ArgumentError:
        raise BadRequest(
            "The address of the review database cannot be read. Write sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME."
        ) from None
    if url.get_backend_name() == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "sqlite+pysqlite") or url.database in (None, "", ":memory:"):
        raise BadRequest("Reviews are stored in a file of SQLite (sqlite:///FILE) or in PostgreSQL (postgresql://...).")
    return url


@functools.lru_cache(maxsize=8)
def _opened(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": WAIT_SECONDS})
        event.listen(engine, "connect", _configure)
        event.listen(engine, "begin", _begin)
    else:
        engine = create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 5})
    with _sentences(engine):
        _migrate(engine)  # also where nothing may be written: empty tables are needed to show that there is nothing
    return engine


def _configure(connection: DBAPIConnection, record: object) -> None:
    """The settings of each connection with SQLite. FULL: what is saved outlives a power failure."""
    connection.isolation_level = None  # `_begin` begins transactions
    cursor = connection.cursor()
    for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {setting}")
    cursor.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")


def _migrate(engine: Engine) -> None:
    """Bring the tables to the newest state; one process at a time."""
    if _revision(engine) == HEAD:
        return
    if engine.url.get_backend_name() == "sqlite":
        file = Path(str(engine.url.database))
        file.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(file.with_name(f"{file.name}.lock"), timeout=WAIT_SECONDS), engine.connect() as connection:
            _upgrade(connection)
            connection.commit()
        return
    with engine.begin() as connection:
        connection.execute(select(func.pg_advisory_xact_lock(ADVISORY_LOCK)))
        _upgrade(connection)


def _upgrade(connection: Connection) -> None:
    """Run the migrations that the database lacks."""
    from alembic.migration import MigrationContext  # slow to import, and seldom needed
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory

    migration, script = MigrationContext.configure(connection), ScriptDirectory(str(Path(__file__).parent / "migrations"))
    missing = list(script.iterate_revisions("head", migration.get_current_revision() or "base"))
    with Operations.context(migration):
        for step in reversed(missing):
            step.module.upgrade()
            migration.stamp(script, step.revision)


def _revision(engine: Engine) -> str | None:
    """The migration that the tables are at; None where there are none. A newer one than this program's is refused."""
    file = engine.url.database
    if engine.url.get_backend_name() == "sqlite" and not Path(str(file)).exists():
        return None
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if revision is not None and revision > HEAD:
        raise StoreUnavailable("The review database was made by a newer version of this program: update the program.")
    return revision


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection for reading, in one transaction. Raises StoreUnavailable."""
    with _sentences(engine), engine.begin() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A connection for writing: all of it is saved or nothing. Raises StoreUnavailable, ReadOnly."""
    if settings.READONLY.value():
        raise ReadOnly
    with _sentences(engine), engine.connect().execution_options(writes=True) as connection, connection.begin():
        yield connection


@contextmanager
def _sentences(engine: Engine) -> Iterator[None]:
    try:
        yield
    except filelock.Timeout:
        raise StoreUnavailable("Another process is making the review database. Try again in a moment.") from None
    except (exc.OperationalError, exc.InterfaceError, exc.DatabaseError, OSError) as error:
        if isinstance(error, exc.IntegrityError):
            raise
        raise StoreUnavailable(f"{_why(error, engine.url)} Nothing was saved; what you typed is still here.") from error


def _why(error: Exception, url: URL) -> str:
    """What is wrong with the database, without its password."""
    told = str(error.orig if isinstance(error, exc.DBAPIError) else error).lower()
    if url.get_backend_name() == "postgresql":
        return f"The review database on {url.host or 'this machine'} cannot be reached or used now. Try again in a minute."
    file = Path(str(url.database)).name
    for sign, words in {
        "locked": "is busy: others are writing. Try again in a moment.",
        "full": "cannot grow: the disk is full. Make room, then try again.",
        "readonly": "may not be written by this program: change the rights of the file or its folder.",
        "read-only": "may not be written by this program: change the rights of the file or its folder.",
        "not a database": "is no database of SQLite: move it away, or name another with XAI_REVIEW_DB.",
        "malformed": "is damaged: restore a copy, or move it away.",
    }.items():
        if sign in told:
            return f"The review database {file} {words}"
    reason = getattr(error, "strerror", None) or (told or "no reason is known").splitlines()[0][:100]
    return f"The review database {file} cannot be opened: {reason}."


def is_durable(engine: Engine) -> bool:
    """Whether what is stored outlives a restart: not in a file on Streamlit Cloud, whose disk is emptied."""
    return engine.url.get_backend_name() == "postgresql" or not STREAMLIT_CLOUD.exists()


def place_in_words(engine: Engine) -> str:
    """Where reviews are stored, for pages: the file's name, or the host and the name of the database."""
    url = engine.url
    return (
        Path(str(url.database)).name
        if url.get_backend_name() == "sqlite"
        else f"{url.database} on {url.host or 'this machine'}"
    )


def now() -> datetime:
    """The time in UTC, as all tables hold it."""
    return datetime.now(UTC).replace(tzinfo=None)


def add_person(connection: Connection, person: Person) -> None:
    """Make a person known, once; whoever says something must be."""
    known = connection.execute(select(tables.people.c.key).where(tables.people.c.key == person.key)).scalar()
    if known is None:
        add_once(
            connection, tables.people, {"key": person.key, "name": person.name, "verified": person.verified, "at": now()}
        )


def add_once(connection: Connection, table: Table, row: Mapping[str, Any]) -> None:
    """Insert a row unless one with its primary key is there: two writers of the same fact do not disturb each other."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    connection.execute(dialect.insert(table).values(dict(row)).on_conflict_do_nothing())


def follow(
    connection: Connection, table: Table, subject: Mapping[str, Any], seen: int, row: Mapping[str, Any], what: str
) -> None:
    """Append to a log the row that follows version `seen` of its subject (0: the first).

    The same row again is taken as saved: a page may send it twice. Raises StaleEdit where another row follows that version.
    """
    same = [table.c[name] == value for name, value in subject.items()]
    latest = connection.execute(select(table).where(*same).order_by(table.c.version.desc()).limit(1)).mappings().first()
    version = latest["version"] if latest else 0
    if latest is not None and version == seen + 1 and all(latest[name] == value for name, value in row.items()):
        return
    if version != seen:
        raise _stale(connection, latest, what)
    try:
        with _savepoint(connection):
            connection.execute(insert(table).values(**subject, **row, version=seen + 1, at=now()))
    except exc.IntegrityError as error:
        latest = connection.execute(select(table).where(*same).order_by(table.c.version.desc()).limit(1)).mappings().first()
        if latest is None or latest["version"] == seen:
            raise  # not the version: another constraint
        if latest["version"] == seen + 1 and all(latest[name] == value for name, value in row.items()):
            return
        raise _stale(connection, latest, what) from error


def _savepoint(connection: Connection) -> AbstractContextManager[object]:
    """PostgreSQL refuses everything after an error in a transaction; a writer of SQLite is alone and meets none."""
    return connection.begin_nested() if connection.dialect.name == "postgresql" else nullcontext()


def _stale(connection: Connection, latest: RowMapping | None, what: str) -> StaleEdit:
    if latest is None:  # the writer saw a version that is not in this database
        return StaleEdit(what, "Somebody", now())
    person = connection.execute(select(tables.people).where(tables.people.c.key == latest["person"])).mappings().one()
    return StaleEdit(what, Person(person["key"], person["name"], person["verified"]).in_words(), latest["at"])


def latest_of(table: Table, *subject: str) -> ColumnElement[bool]:
    """The condition under which a log's row is its subject's state: no row of the subject has a higher version."""
    later = table.alias()
    same = [later.c[name] == table.c[name] for name in subject]
    return ~select(later.c.id).where(*same, later.c.version > table.c.version).exists()
