"""Small rounds of drawn pictures, for the tests of reviews."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Engine

from xai_core.data.datasets import USUAL_WORLD, Dataset, open_dataset
from xai_core.review import rounds
from xai_core.review.people import Person, named
from xai_core.review.rounds import Round, RoundSettings

ANNA, BEN, CHRIS = (named(name, "a browser") for name in ("Anna", "Ben", "Chris"))
SETTINGS = RoundSettings("made", "A model", "0" * 64, "0" * 64, "pictures", "the test", classes=("boat", "house", "tent"))


def made_rows(dataset: Dataset, count: int) -> pd.DataFrame:
    """Predictions as `classify` writes them: every label is taken for the next class."""
    classes = list(dataset.classes)
    lines = []
    for number, sample in enumerate(dataset.samples[:count]):
        wrong = classes[(classes.index(sample.label) + 1) % len(classes)]
        lines.append(
            {
                "path": sample.name, "label": sample.label, "true": sample.label, "predicted": wrong,
                "confidence": 0.5 + number / 1000, "top5": np.array([wrong, sample.label]),
                "top5_probability": np.array([0.5 + number / 1000, 0.2]),
            }
        )  # fmt: skip
    return pd.DataFrame(lines)


def made_round(engine: Engine, pictures: int = 6, owner: Person = ANNA, **settings: Any) -> Round:
    """A round of the first pictures of the planted world."""
    dataset = open_dataset(USUAL_WORLD)
    rows = made_rows(dataset, pictures)
    return rounds.create(engine, owner, "Round of a test", dataclasses.replace(SETTINGS, **settings), rows, dataset)


def made_team(engine: Engine, pictures: int = 6, **settings: Any) -> Round:
    """A round of Anna (owner), Ben and Chris."""
    round = made_round(engine, pictures, **settings)
    for person in (BEN, CHRIS):
        rounds.invite(engine, round, person, rounds.REVIEWER, by=ANNA)
    return round
