"""How long each view of the page Review takes with 5,000 pictures and 10 people: the functions that give what it shows.

    python -m benchmarks.review [--pictures N] [--people N] [--rounds N] [--out FILE]

`first` is with nothing in memory, as for the first visitor after a start; `again` is every later time. Both are given in
seconds by the clock, and in seconds of the processor, which is what they take where nothing else runs. The goal is 1 s of
both; `met` is that of the processor, `met_by_the_clock` that of a machine as busy as this one was. Documents are made when
somebody asks for them and have no goal.
"""

import argparse
import dataclasses
import json
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine, insert

logging.disable(logging.WARNING)  # streamlit's, about running without a server
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from small_rounds import SETTINGS

from benchmarks.paired import machine, spread
from xai_core.app.review import access, agreement_view, discussion
from xai_core.review import minutes, minutes_document, rounds, tables, votes
from xai_core.review.database import now, open_database, writing
from xai_core.review.people import Person, named
from xai_core.review.rounds import Round

GOAL = 1.0  # seconds
ID = "large"
SAME = 0.6  # the share of votes that are the verdict that most give
CLASSES = tuple(f"class {number}" for number in range(1000))


def team(people: int) -> list[Person]:
    return [named(f"Person {number}", "benchmark") for number in range(people)]


def make(engine: Engine, pictures: int, people: int, seed: int = 0) -> Round:
    """A round that everybody has voted on, in discussion, with a decision on every second picture."""
    draw, everybody, at = np.random.default_rng(seed), team(people), now()
    settings = dataclasses.replace(SETTINGS, classes=CLASSES, maps=rounds.RANDOM)
    stored = dataclasses.asdict(settings) | {"verdicts": [list(verdict) for verdict in settings.verdicts]}
    verdicts = [verdict.id for verdict in settings.verdicts]
    top5 = [[f"class {number}", 0.5 / number] for number in range(1, 6)]
    item = {
        "round": ID,
        "label": "class 2",
        "true_class": "class 2",
        "predicted": "class 1",
        "confidence": 0.5,
        "top5": top5,
    }
    truth = draw.integers(len(verdicts), size=pictures)
    given = np.where(
        draw.random((pictures, people)) < SAME, truth[:, None], draw.integers(len(verdicts), size=(pictures, people))
    )
    shown = draw.random((pictures, people)) < 0.5
    said = {"round": ID, "version": 1, "at": at}
    with writing(engine) as connection:
        rows: dict[str, list[dict[str, Any]]] = {
            "people": [{"key": one.key, "name": one.name, "verified": False, "at": at} for one in everybody],
            "rounds": [
                {"id": ID, "title": "A large round", "owner": everybody[0].key, "settings": stored, "reviewer_token": "r",
                 "reader_token": "s", "at": at}
            ],
            "items": [
                item | {"position": place, "sha256": f"{place:064d}", "name": f"pictures/{place}.png", "repeat_of": None}
                for place in range(pictures)
            ],
            "members": [
                said | {"person": one.key, "role": rounds.REVIEWER if number else rounds.OWNER, "given_by": everybody[0].key}
                for number, one in enumerate(everybody)
            ],
            "round_log": [
                said | {"state": state, "person": everybody[0].key, "version": version}
                for version, state in enumerate((rounds.VOTING, rounds.DISCUSSION), 1)
            ],
            "votes": [
                said
                | {"position": place, "person": one.key, "verdict": verdicts[given[place, number]], "severity": 1,
                   "suggested": "class 7" if (place + number) % 9 == 0 else "", "comment": "a comment",
                   "map_shown": bool(shown[place, number]), "map_helped": bool(number % 2), "after_others": False}
                for place in range(pictures) for number, one in enumerate(everybody)
            ],
            "verdicts": [
                said
                | {"position": place, "person": everybody[1].key, "verdict": verdicts[truth[place]], "suggested": "",
                   "reason": "a reason", "unanimous": False}
                for place in range(0, pictures, 2)
            ],
        }  # fmt: skip
        for name, lines in rows.items():
            connection.execute(insert(tables.metadata.tables[name]), lines)
    return rounds.load(engine, ID)


def vote(engine: Engine, round: Round, person: Person) -> None:
    items = access.items(engine, round)
    votes.own_votes(engine, round, person)
    votes.to_do(engine, round, items, person)
    rounds.shows_map(round, items, person)


def discuss(engine: Engine, round: Round, person: Person) -> None:
    discussion.settled_rows(round, discussion.load(engine, round))
    votes.names(engine, round)


def agree(engine: Engine, round: Round, person: Person) -> None:
    agreement_view.coefficient_lines(round, agreement_view.results(engine, round))
    agreement_view.map_help(engine, round)


VIEWS: dict[str, Callable[[Engine, Round, Person], object]] = {
    "Rounds": lambda engine, round, person: rounds.listed(engine, person),
    "Vote": vote,
    "Progress": lambda engine, round, person: votes.progress(engine, round, access.items(engine, round)),
    "Discussion": discuss,
    "Agreement": agree,
    "Minutes": lambda engine, round, person: discussion.load(engine, round),
}


def measured(file: Path, person: Person, repeats: int) -> Iterator[dict[str, Any]]:
    """A row for each view. What is held in memory is of one file: a copy of it is read as for the first time."""
    for name in VIEWS:
        times = {key: np.zeros(repeats) for key in ("first", "again", "first_processor", "again_processor")}
        for number in range(repeats):
            copy = shutil.copy(file, file.with_name(f"{name} {number}.sqlite"))
            engine = open_database(f"sqlite:///{copy}")
            round = rounds.load(engine, ID)
            for key in ("first", "again"):
                clock, processor = time.perf_counter(), time.process_time()
                VIEWS[name](engine, round, person)
                times[key][number] = time.perf_counter() - clock
                times[f"{key}_processor"][number] = time.process_time() - processor
            engine.dispose()
        middle = {key: np.median(seconds) for key, seconds in times.items()}
        yield {
            "view": name, **{key: spread(seconds) for key, seconds in times.items()}, "goal": GOAL,
            "met": bool(max(middle["first_processor"], middle["again_processor"]) < GOAL),
            "met_by_the_clock": bool(max(middle["first"], middle["again"]) < GOAL),
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=5_000)
    parser.add_argument("--people", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "review.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "review.sqlite")
        engine = open_database(f"sqlite:///{file}")
        round = make(engine, options.pictures, options.people)
        account = minutes.minutes(engine, round)
        documents = {}
        for name, write in {"HTML": minutes_document.to_html, "Markdown": minutes_document.to_markdown}.items():
            began = time.perf_counter()
            write(account)
            documents[name] = time.perf_counter() - began
        engine.dispose()
        rows = []
        for row in measured(file, team(options.people)[1], options.rounds):
            rows.append(row)
            first, again, processor = (row[key]["median"] for key in ("first", "again", "first_processor"))
            print(
                f"{row['view']:<12}{first:>7.3f} s first{again:>7.3f} s again, processor{processor:>7.3f} s first",
                flush=True,
            )
    result = {
        "machine": machine(), "pictures": options.pictures, "people": options.people, "rounds": options.rounds, "rows": rows,
        "documents": documents,
    }  # fmt: skip
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
