"""The minutes of a round: everything that its document (minutes_document.py) says.

Counts are of the pictures of the round, each once: hidden repeats count in the consistency alone. A picture's votes are the
last vote of each person; agreement takes the last ones before somebody looked at others' votes (see agreement.py).
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import pandas as pd
from sqlalchemy import Engine, select

from xai_core.core.errors import UnknownName
from xai_core.review import agreement, consolidation, rounds, tables, votes
from xai_core.review.agreement import Agreement, MapHelp, PersonPair, Statistic
from xai_core.review.consolidation import Decision
from xai_core.review.database import reading
from xai_core.review.people import Person
from xai_core.review.rounds import Item, Round, StoredMap, VerdictKind

MOST_WITH_PICTURES = 500  # pictures of a document that have their small copy and maps in it
TIME = "%Y-%m-%d %H:%M UTC"
RELABEL = "Relabel"
ACTIONS = {  # a list of things to do: what it asks for, and the verdicts that lead to it
    RELABEL: ("Correct these labels.", ("label_wrong",)),
    "Accept both labels": ("The predicted class is right as well: allow it in the evaluation.", ("also_valid",)),
    "Collect": ("Collect more pictures like these, or extend the classes.", ("unusual", "outside")),
    "Fix": ("Change the model or its training data: test the causes first.", ("shortcut", "plain_failure")),
}
NO_SUGGESTION = "no label was suggested"


class StateChange(NamedTuple):
    """When a round came into a state, and by whom."""

    state: str
    person: str
    at: datetime


class Participant(NamedTuple):
    """Somebody who takes part. `done` of `total` pictures are judged; None for readers, and where the round is anonymous."""

    name: str
    role: str
    done: int | None
    total: int | None


@dataclass(frozen=True)
class VerdictCount:
    """How often a verdict is the final one of a picture, as a share of the settled ones, and how often it was voted."""

    verdict: VerdictKind
    pictures: int
    share: Statistic
    votes: int
    vote_share: Statistic


@dataclass(frozen=True)
class GroupCounts:
    """The verdicts on the errors, or on the right predictions, or on the pictures without a true class."""

    title: str
    pictures: int
    settled: int
    votes: int
    verdicts: tuple[VerdictCount, ...]


@dataclass(frozen=True)
class PictureVote:
    """One person's vote on a picture, in words."""

    person: str
    verdict: str
    severity: str
    suggested: str
    comment: str
    map_shown: bool
    map_helped: bool | None
    after_others: bool  # it was changed after a look at others' votes


@dataclass(frozen=True)
class PictureMinutes:
    """What was said of one picture. `thumbnail` is None, and `maps` are empty, beyond MOST_WITH_PICTURES."""

    item: Item
    thumbnail: bytes | None
    maps: Mapping[str, StoredMap]
    votes: tuple[PictureVote, ...]
    decision: Decision | None

    @property
    def number(self) -> int:
        return self.item.position + 1


class Action(NamedTuple):
    """One line of a list of things to do; `change_to` is the suggested label, `severity` the highest that was voted."""

    number: int
    name: str
    label: str
    predicted: str
    verdict: str
    change_to: str
    severity: str
    reason: str


@dataclass(frozen=True)
class ActionList:
    title: str
    about: str
    actions: tuple[Action, ...]


@dataclass(frozen=True)
class Minutes:
    """All that the document of a round says. Statistics by verdict and by person have titles and names as their keys."""

    round: Round
    states: tuple[StateChange, ...]
    people: tuple[Participant, ...]
    counts: tuple[GroupCounts, ...]
    agreement: Agreement
    agreement_by_verdict: Mapping[str, Agreement]
    pairs: tuple[PersonPair, ...]
    consistency: Mapping[str, Statistic]
    map_help: MapHelp
    pictures: tuple[PictureMinutes, ...]
    open_questions: tuple[PictureMinutes, ...]
    action_lists: tuple[ActionList, ...]


def minutes(engine: Engine, round: Round) -> Minutes:
    """The minutes of a round whose voting is closed. Raises BadRequest while it is voted on."""
    blind, last = votes.table(engine, round), votes.table(engine, round, blind=False)
    items, names = rounds.items(engine, round), votes.names(engine, round)
    settled = consolidation.decisions(engine, round)
    by_position = _votes_by_position(round, last, blind, names)
    originals = [item for item in items if item.repeat_of is None]
    pictures = tuple(
        PictureMinutes(
            item,
            _thumbnail(engine, item) if place < MOST_WITH_PICTURES else None,
            rounds.maps(engine, round, item.position) if place < MOST_WITH_PICTURES else {},
            tuple(by_position.get(item.position, ())),
            settled.get(item.position),
        )
        for place, item in enumerate(originals)
    )
    numbered = {picture.item.position: picture for picture in pictures}
    final = {position: decision.verdict for position, decision in settled.items()}
    return Minutes(
        round=round,
        states=_states(engine, round),
        people=_people(engine, round, items),
        counts=tuple(_counts(round, originals, last, settled)),
        agreement=agreement.agreement(blind, seed=round.settings.seed),
        agreement_by_verdict={
            round.settings.verdict_title(verdict): coefficients
            for verdict, coefficients in agreement.by_verdict(blind, seed=round.settings.seed).items()
        },
        pairs=tuple(
            dataclasses.replace(pair, first=names[pair.first], second=names[pair.second]) for pair in agreement.pairs(blind)
        ),
        consistency={names[person]: share for person, share in agreement.consistency(blind).items()},
        map_help=agreement.map_help(blind, final, seed=round.settings.seed),
        pictures=pictures,
        open_questions=tuple(numbered[item.position] for item in consolidation.open_questions(originals, last, settled)),
        action_lists=tuple(_action_lists(round, pictures)),
    )


def _thumbnail(engine: Engine, item: Item) -> bytes | None:
    try:
        return rounds.thumbnail(engine, item.sha256)
    except UnknownName:  # the rest of the minutes is worth reading without it
        return None


def _states(engine: Engine, round: Round) -> tuple[StateChange, ...]:
    log, p = tables.round_log, tables.people
    query = (
        select(log.c.state, log.c.at, p).join(p, p.c.key == log.c.person)
        .where(log.c.round == round.id).order_by(log.c.version)
    )  # fmt: skip
    with reading(engine) as connection:
        return tuple(
            StateChange(row["state"], Person(row["key"], row["name"], row["verified"]).in_words(), row[log.c.at])
            for row in connection.execute(query).mappings()
        )


def _people(engine: Engine, round: Round, items: Sequence[Item]) -> tuple[Participant, ...]:
    """Where names are left out beside votes, the numbers of votes are as well: they would tell who is who."""
    done = {progress.person.key: progress for progress in votes.progress(engine, round, items)}
    people = []
    for person, role in rounds.members(engine, round):
        progress = None if round.settings.anonymous else done.get(person.key)
        people.append(Participant(person.in_words(), role, progress and progress.done, progress and progress.total))
    return tuple(people)


def _votes_by_position(
    round: Round, last: pd.DataFrame, blind: pd.DataFrame, names: Mapping[str, str]
) -> dict[int, list[PictureVote]]:
    counted = {(row["position"], row["person"]): row["version"] for row in blind.to_dict("records")}
    by_position: dict[int, list[PictureVote]] = {}
    for row in last.to_dict("records"):
        vote = PictureVote(
            names[row["person"]],
            round.settings.verdict_title(row["verdict"]),
            "" if pd.isna(row["severity"]) else votes.SEVERITIES[int(row["severity"])],
            row["suggested"],
            row["comment"],
            bool(row["map_shown"]),
            None if pd.isna(row["map_helped"]) else bool(row["map_helped"]),
            counted.get((row["position"], row["person"])) != row["version"],
        )
        by_position.setdefault(int(row["position"]), []).append(vote)
    return {position: sorted(given, key=lambda vote: vote.person) for position, given in by_position.items()}


def _group(item: Item) -> str:
    if item.true_class is None:
        return "Pictures without a true class"
    return "Right predictions" if item.true_class == item.predicted else "Errors"


def _counts(
    round: Round, originals: Sequence[Item], last: pd.DataFrame, settled: Mapping[int, Decision]
) -> Iterator[GroupCounts]:
    groups: dict[str, list[int]] = {}
    for item in originals:
        groups.setdefault(_group(item), []).append(item.position)
    for title, positions in sorted(groups.items()):
        final = Counter(settled[position].verdict for position in positions if position in settled)
        voted = Counter(last.loc[last["position"].isin(positions), "verdict"])
        yield GroupCounts(
            title, len(positions), final.total(), voted.total(),
            tuple(
                VerdictCount(
                    verdict,
                    final[verdict.id], agreement.share(final[verdict.id], final.total(), "nothing is settled"),
                    voted[verdict.id], agreement.share(voted[verdict.id], voted.total(), "nobody has voted"),
                )
                for verdict in round.settings.verdicts
            ),
        )  # fmt: skip


def _action_lists(round: Round, pictures: Sequence[PictureMinutes]) -> Iterator[ActionList]:
    """The lists that the round's verdicts lead to; verdicts of its own lead to none."""
    for title, (about, verdicts) in ACTIONS.items():
        if any(verdict.id in verdicts for verdict in round.settings.verdicts):
            actions = [
                _action(round, picture, picture.decision)
                for picture in pictures
                if picture.decision is not None and picture.decision.verdict in verdicts
            ]
            yield ActionList(title, about, tuple(actions))


def _action(round: Round, picture: PictureMinutes, decision: Decision) -> Action:
    item = picture.item
    severities = [votes.SEVERITIES.index(vote.severity) for vote in picture.votes if vote.severity]
    return Action(
        picture.number, item.name, item.label, item.predicted, round.settings.verdict_title(decision.verdict),
        decision.suggested, votes.SEVERITIES[max(severities)] if severities else "",
        decision.reason or ("all who voted agree" if decision.unanimous else ""),
    )  # fmt: skip
