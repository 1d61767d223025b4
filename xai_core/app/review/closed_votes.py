"""The votes of a round whose voting is closed, held in memory: they do not change any more."""

import pandas as pd
from sqlalchemy import Engine

from xai_core.app.shared import cache
from xai_core.review import votes
from xai_core.review.rounds import Round


def key(engine: Engine, round: Round) -> str:
    """Names the round and its state, for what is computed from its votes."""
    return f"votes {engine.url} {round.id} {round.version}"


def table(engine: Engine, round: Round, *, blind: bool) -> pd.DataFrame:
    """`votes.table`, which is read once; not to be changed. Raises as that does."""

    def read() -> pd.DataFrame:
        if blind and not votes.is_any_after_others(engine, votes.closed(round)):
            return table(engine, round, blind=False)
        return votes.table(engine, round, blind=blind)

    return cache.get_or_compute(f"{key(engine, round)} {blind}", read)
