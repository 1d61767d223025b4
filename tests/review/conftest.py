"""The two databases that every test of the store runs on."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import new_database, postgres  # noqa: F401 (fixture)
from sqlalchemy import Engine

from xai_core.review.database import open_database

NUMBERS = itertools.count()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/review.sqlite"
    return new_database(request.getfixturevalue("postgres"), f"review_{next(NUMBERS)}")


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = open_database(url)
    yield engine
    engine.dispose()
