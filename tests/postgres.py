"""A PostgreSQL server for the tests: on a socket in a temporary folder, without a network port.

The folder is in memory where there is room: each database is nearly a thousand files, slow to make and to remove on a disk.

Where PostgreSQL is not installed, tests that need it are skipped with the command that installs it.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

INSTALL = "apt-get install postgresql"
MEMORY = Path("/dev/shm")
ROOM = 2**30  # bytes; a container often has 64 MB there
FAST = "-c fsync=off -c full_page_writes=off -c min_wal_size=32MB -c max_wal_size=64MB"  # nothing outlives the tests


def roomy_folder() -> Path | None:
    """A folder in memory for what tests write in many small pieces; None where there is none or it is small."""
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM else None


def _program(name: str) -> str | None:
    """Debian installs the server's programs beside the PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(versions[-1]) if versions else None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The folder of the socket of a running server with the user `postgres`."""
    initdb, pg_ctl = _program("initdb"), _program("pg_ctl")
    if initdb is None or pg_ctl is None:
        pytest.skip(f"PostgreSQL is not installed: {INSTALL}")
    folder = Path(tempfile.mkdtemp(prefix="xai_pg_", dir=roomy_folder()))  # short: a socket's path may have 107 characters
    as_user = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        as_user = {"user": "postgres", "extra_groups": []}
        shutil.chown(folder, "postgres")

    def run(*command: str) -> None:
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, **as_user)

    data = str(folder / "data")
    run(initdb, "--pgdata", data, "--username", "postgres", "--auth", "trust", "--no-sync", "--encoding", "UTF8")
    options = f"-c listen_addresses='' -k {folder} -c max_connections=60 {FAST}"
    run(pg_ctl, "--pgdata", data, "--options", options, "--wait", "--log", str(folder / "log"), "start")
    yield str(folder)
    run(pg_ctl, "--pgdata", data, "--mode", "immediate", "stop")
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def new_database(socket: str, name: str) -> Iterator[str]:
    """The URL of a new database, which is removed at the end."""
    import psycopg

    with psycopg.connect(host=socket, user="postgres", dbname="postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        yield f"postgresql://postgres@/{name}?host={socket}"
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
