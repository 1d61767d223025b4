"""The two databases that every test of the store runs on."""

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import new_database, postgres, roomy_folder  # noqa: F401 (postgres is a fixture)
from sqlalchemy import Engine

from xai_core.review.database import open_database

NUMBERS = itertools.count()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database of each kind. Its connections are closed at the end, also those that a test left open."""
    if request.param == "sqlite":
        with tempfile.TemporaryDirectory(dir=roomy_folder() or tmp_path) as folder:
            yield f"sqlite:///{folder}/review.sqlite"
        return
    with new_database(request.getfixturevalue("postgres"), f"review_{next(NUMBERS)}") as url:
        yield url
        open_database(url).dispose()


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = open_database(url)
    yield engine
    engine.dispose()
