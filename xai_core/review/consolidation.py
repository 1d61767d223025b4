"""What a team agrees on in the end: one verdict for each picture, with a reason where people disagreed.

A picture is settled when it has a verdict; unanimous ones are adopted at once, the others are decided one by one, and what
stays open is an open question. Decisions are a log like votes: nothing is overwritten.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
import pandas as pd
from sqlalchemy import Connection, Engine, select

from xai_core.core.errors import BadRequest
from xai_core.review import rounds, tables, votes
from xai_core.review.database import follow, latest_of, reading, writing
from xai_core.review.people import Person
from xai_core.review.rounds import DISCUSSION, LONGEST_TEXT, OWNER, REVIEWER, Item, Round, checked_text


class Decision(NamedTuple):
    """The final verdict on a picture: by whom and why; `unanimous` where it was adopted because all votes are the same."""

    verdict: str
    suggested: str
    reason: str
    unanimous: bool
    person: Person
    version: int
    at: datetime


def decisions(engine: Engine, round: Round) -> dict[int, Decision]:
    """The final verdicts by position; pictures that were opened again are not among them."""
    return {position: decision for position, decision in latest(engine, round).items() if decision.verdict}


def versions(engine: Engine, round: Round) -> dict[int, int]:
    """The version that a decision on each picture must follow; pictures without any are not among them (0)."""
    return {position: decision.version for position, decision in latest(engine, round).items()}


def latest(engine: Engine, round: Round) -> dict[int, Decision]:
    """What was said last of each picture, by position; without a verdict it was left open, or opened again."""
    d, p = tables.verdicts, tables.people
    query = (
        select(d, p.c.name, p.c.verified).join(p, p.c.key == d.c.person)
        .where(d.c.round == round.id, latest_of(d, "round", "position"))
    )  # fmt: skip
    with reading(engine) as connection:
        return {
            row["position"]: Decision(
                row["verdict"], row["suggested"], row["reason"], row["unanimous"],
                Person(row["person"], row["name"], row["verified"]), row["version"], row["at"],
            )
            for row in connection.execute(query).mappings()
        }  # fmt: skip


def unanimous(table: pd.DataFrame) -> dict[int, str]:
    """The verdicts on which at least two people, and all who voted, agree, by position. Repeats do not count."""
    originals = table[table["repeat_of"].isna()]
    of_picture = originals.groupby("position")["verdict"].agg(["nunique", "count", "first"])
    agreed = of_picture[(of_picture["nunique"] == 1) & (of_picture["count"] >= 2)]
    return {int(str(position)): str(verdict) for position, verdict in agreed["first"].items()}


def adopt_unanimous(engine: Engine, round: Round, person: Person) -> int:
    """Make the verdict of every unanimous picture that has none yet final; returns how many there were.

    The most frequent suggested label is adopted with it. Raises BadRequest while the round is voted on or done.
    """
    table = votes.table(engine, round, blind=False)
    taken = versions(engine, round)
    new = {position: verdict for position, verdict in unanimous(table).items() if position not in taken}
    suggested = table[table["suggested"] != ""].groupby("position")["suggested"].agg(lambda labels: labels.mode().iloc[0])
    with writing(engine) as connection:
        _require_discussion(connection, round, person)
        for position, verdict in new.items():
            row = {
                "verdict": verdict, "suggested": str(suggested.get(position, "")), "reason": "", "unanimous": True,
                "person": person.key,
            }  # fmt: skip
            follow(connection, tables.verdicts, {"round": round.id, "position": position}, 0, row, "this decision")
    return len(new)


def decide(
    engine: Engine, round: Round, person: Person, item: Item, verdict: str, reason: str, suggested: str = "", seen: int = 0
) -> None:
    """Settle a picture with a reason, or change what was settled; `seen` is the version that was shown.

    Raises StaleEdit where somebody has decided since, BadRequest without a reason and where there is no discussion.
    """
    round.settings.verdict_title(verdict)
    reason = checked_text(reason, LONGEST_TEXT, "A reason")
    if not reason:
        raise BadRequest("A decision needs a reason: those who voted otherwise will read it.")
    _append(engine, round, person, item, verdict, reason, checked_text(suggested, votes.LONGEST_LABEL, "A label"), seen)


def reopen(engine: Engine, round: Round, person: Person, item: Item, reason: str, seen: int) -> None:
    """Make a settled picture an open question again. Raises as `decide`."""
    _append(engine, round, person, item, "", checked_text(reason, LONGEST_TEXT, "A reason"), "", seen)


def _append(
    engine: Engine, round: Round, person: Person, item: Item, verdict: str, reason: str, suggested: str, seen: int
) -> None:
    row = {"verdict": verdict, "suggested": suggested, "reason": reason, "unanimous": False, "person": person.key}
    with writing(engine) as connection:
        _require_discussion(connection, round, person)
        subject = {"round": round.id, "position": item.position}
        follow(connection, tables.verdicts, subject, seen, row, "the decision on this picture")


def _require_discussion(connection: Connection, round: Round, person: Person) -> None:
    rounds.require(connection, round, person, (OWNER, REVIEWER))
    state = rounds.state_in(connection, round)
    if state != DISCUSSION:
        raise BadRequest(f"Pictures are settled in the discussion; this round is in the state '{state}'.")


def open_questions(items: Sequence[Item], table: pd.DataFrame, settled: dict[int, Decision]) -> list[Item]:
    """The pictures with votes and without a final verdict, the most disputed first: by the entropy of their votes, and among
    equal ones those with more votes, as in `agreement.disputed`."""
    counts = table[table["repeat_of"].isna()].groupby(["position", "verdict"]).size()
    shares = counts / counts.groupby(level="position").transform("sum")
    entropy = (-shares * np.log2(shares)).groupby(level="position").sum().round(9)
    cast = counts.groupby(level="position").sum()
    order = {int(str(position)): (-entropy[position], -cast[position]) for position in entropy.index}
    unsettled = [item for item in items if item.position in order and item.position not in settled]
    return sorted(unsettled, key=lambda item: (order[item.position], item.position))
