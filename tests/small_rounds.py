"""Small rounds of drawn pictures, for the tests of reviews."""

import dataclasses
import io
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from sqlalchemy import Engine

from xai_core.data.datasets import USUAL_WORLD, Dataset, open_dataset
from xai_core.review import consolidation, rounds, votes
from xai_core.review.people import Person, named
from xai_core.review.rounds import DISCUSSION, Round, RoundSettings
from xai_core.review.votes import Vote

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


VERDICTS_OF = {  # person: their verdicts on the eight pictures of `settled_team`
    ANNA: ["label_wrong", "label_wrong", "shortcut", "unusual", "also_valid", "unsure", "outside", "plain_failure"],
    BEN: ["label_wrong", "label_wrong", "shortcut", "unusual", "also_valid", "shortcut", "outside", "fine_grained"],
    CHRIS: ["label_wrong", "shortcut", "shortcut", "unusual", "unsure", "label_wrong", "outside", "unusual"],
}


def settled_team(engine: Engine, comment: str = "", **settings: Any) -> Round:
    """A round of eight pictures, three people and two hidden repeats, with one map, closed and partly settled.

    `comment` is Ben's on every picture. Chris is unsure of every repeat, the others say the same as the first time.
    """
    round = made_team(engine, 8, **{"repeats": 0.25, "classes": ("boat", "car")} | settings)
    items = rounds.items(engine, round)
    for person, verdicts in VERDICTS_OF.items():
        for item in items:
            verdict = verdicts[item.position if item.repeat_of is None else item.repeat_of]
            if item.repeat_of is not None and person == CHRIS:
                verdict = "unsure"
            vote = Vote(verdict, 2, "boat" if verdict == "label_wrong" else "", comment if person == BEN else "", True)
            votes.cast(engine, round, items, person, item.position, vote)
    rounds.add_map(engine, round, 0, "predicted", webp("red"), f"A map. {comment}")
    round = rounds.set_state(engine, round, DISCUSSION, ANNA)
    consolidation.adopt_unanimous(engine, round, BEN)
    consolidation.decide(engine, round, CHRIS, items[1], "label_wrong", f"We looked twice. {comment}", "car")
    consolidation.decide(engine, round, CHRIS, items[7], "plain_failure", "Nothing else explains it.")
    return round


def webp(colour: str) -> bytes:
    """A small picture of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(file, "WEBP")
    return file.getvalue()
