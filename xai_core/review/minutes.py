"""The minutes of a round: everything that its document says, and the document as HTML, Markdown and PDF.

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

from xai_core.core import document
from xai_core.core.document import Block, Figure, FigureRow, Heading, Paragraph, TermList, TextTable
from xai_core.core.errors import UnknownName
from xai_core.core.version import __version__
from xai_core.review import agreement, consolidation, rounds, tables, votes
from xai_core.review.agreement import Agreement, MapHelp, PersonPair, Statistic
from xai_core.review.consolidation import Decision
from xai_core.review.database import reading
from xai_core.review.people import Person
from xai_core.review.rounds import MAP_KINDS, RANDOM, UNTIL_CLOSED, UNTIL_VOTED, Item, Round, StoredMap, VerdictKind

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


# --- the document ----------------------------------------------------------------------------------------------------


def to_html(minutes: Minutes) -> bytes:
    """One file with everything in it, for the screen and for printing."""
    return document.to_html(list(blocks(minutes)))


def to_markdown(minutes: Minutes) -> str:
    """The text of the minutes; pictures are named, not contained."""
    return document.to_markdown(list(blocks(minutes)))


def to_pdf(minutes: Minutes) -> bytes:
    """A4 with pictures and page numbers."""
    return document.to_pdf(list(blocks(minutes)))


def blocks(minutes: Minutes) -> Iterator[Block]:
    """The document, block by block; the same for every format."""
    round = minutes.round
    yield Heading(1, round.title)
    yield Paragraph(f"Minutes of a review round, written by xai_core {__version__}. Intervals are at 95%.")
    yield Heading(2, "The round")
    yield TextTable("Settings of the round", ("Item", "Value"), tuple(_settings(minutes)))
    yield Heading(2, "People")
    yield TextTable(
        "Who took part",
        ("Name", "Role", "Pictures judged"),
        [(who.name, who.role, "" if who.done is None else f"{who.done:,} of {who.total:,}") for who in minutes.people],
    )
    if round.settings.anonymous:
        yield Paragraph("The round is anonymous: votes stand with numbers instead of names, and nobody's votes are counted.")
    yield from _verdict_blocks(minutes)
    yield from _agreement_blocks(minutes)
    yield from _map_blocks(minutes)
    yield Heading(2, "What to do")
    for actions in minutes.action_lists:
        yield Heading(3, f"{actions.title} ({_pictures(len(actions.actions))})")
        if actions.actions:
            yield Paragraph(actions.about)
            yield TextTable(actions.title, ACTION_COLUMNS, [_action_row(action, actions) for action in actions.actions])
    if not minutes.action_lists:
        yield Paragraph("The verdicts of this round lead to no list of their own.")
    yield Heading(2, f"Open questions ({_pictures(len(minutes.open_questions))})")
    if minutes.open_questions:
        yield Paragraph("These pictures have votes and no final verdict, the most disputed first.")
        yield TextTable(
            "Open questions",
            ("No.", "Picture", "Label", "Predicted", "Votes"),
            [
                (f"{picture.number}", picture.item.name, picture.item.label, picture.item.predicted, _tally(picture))
                for picture in minutes.open_questions
            ],
        )
    yield Heading(2, f"Pictures ({len(minutes.pictures):,})")
    if len(minutes.pictures) > MOST_WITH_PICTURES:
        yield Paragraph(f"The first {MOST_WITH_PICTURES:,} are shown with their small copy and maps.")
    for picture in minutes.pictures:
        yield from _picture_blocks(round, picture)


BLIND_IN_WORDS = {
    UNTIL_VOTED: "to each person after their own vote on the picture",
    UNTIL_CLOSED: "when the voting is closed",
}
ACTION_COLUMNS = ("No.", "Picture", "Label", "Predicted", "Verdict", "Change to", "Severity", "Reason")


def _action_row(action: Action, actions: ActionList) -> tuple[str, ...]:
    change_to = action.change_to or (NO_SUGGESTION if actions.title == RELABEL else "")
    return (
        f"{action.number}", action.name, action.label, action.predicted, action.verdict, change_to, action.severity,
        action.reason,
    )  # fmt: skip


def _settings(minutes: Minutes) -> Iterator[tuple[str, str]]:
    round, settings = minutes.round, minutes.round.settings
    yield "Round", round.id
    for change in minutes.states:
        yield f"State: {change.state}", f"since {change.at:{TIME}}, by {change.person}"
    yield "Owner", round.owner.in_words()
    yield "Pictures", f"{round.pictures:,}: {settings.source}"
    yield "Dataset", f"{settings.dataset_title} (digest {settings.dataset})"
    yield "Model", f"{settings.model_title} ({settings.model}; weights {settings.fingerprint})"
    options = ", ".join(f"{name} = {value}" for name, value in settings.options.items())
    yield (
        "Maps",
        (
            f"{settings.maps}; method {settings.method}{f' ({options})' if options else ''}, "
            f"cut {settings.cut or 'the usual one'}, precision {settings.precision}"
        ),
    )
    yield "Votes for each picture", f"{settings.votes_each}" if settings.votes_each else "of all who take part"
    yield "Order", "by chance for each person" if settings.random_order else "as listed here"
    yield "Others' votes are shown", BLIND_IN_WORDS[settings.blind]
    yield "Hidden repeats", f"{settings.repeats:.0%} of the pictures"
    yield "Prediction is shown", "after the vote" if settings.reveal_after_vote else "before the vote"
    yield "Seed", f"{settings.seed}"
    for name, reason in settings.left_out.items():
        yield f"Left out: {name}", reason


def _verdict_blocks(minutes: Minutes) -> Iterator[Block]:
    yield Heading(2, "Verdicts")
    yield TermList([(verdict.title, verdict.definition) for verdict in minutes.round.settings.verdicts])
    for group in minutes.counts:
        yield Heading(3, f"{group.title} ({_pictures(group.pictures)})")
        yield Paragraph(
            f"{group.settled:,} of {_pictures(group.pictures)} have a final verdict; {group.votes:,} votes were cast. "
            "Shares of pictures are of those with a final verdict. The intervals (Wilson) of shares of votes take votes as "
            "independent; those on one picture are not, so they are too narrow."
        )
        yield TextTable(
            f"Verdicts: {group.title}",
            ("Verdict", "Pictures", "Share of settled", "Votes", "Share of votes"),
            [
                (
                    count.verdict.title, f"{count.pictures:,} of {group.settled:,}", percent(count.share),
                    f"{count.votes:,} of {group.votes:,}", percent(count.vote_share),
                )
                for count in group.verdicts
            ],
        )  # fmt: skip


COEFFICIENTS = {  # a coefficient of Agreement: its title
    "percent": "Pairs of votes that agree",
    "cohen": "Cohen's kappa",
    "fleiss": "Fleiss' kappa",
    "krippendorff": "Krippendorff's alpha",
    "gwet": "Gwet's AC1",
}


def _agreement_blocks(minutes: Minutes) -> Iterator[Block]:
    whole = minutes.agreement
    yield Heading(2, "Agreement")
    yield Paragraph(
        f"{whole.people:,} people cast {whole.votes:,} votes on {_pictures(whole.pictures)} before they saw others' votes; "
        "these alone are compared. Intervals are percentiles of a bootstrap over pictures."
    )
    statistics = {title: getattr(whole, name) for name, title in COEFFICIENTS.items()}
    yield TextTable(
        "Agreement on all verdicts",
        ("Measure", "Value", "Of", "Remark"),
        [
            (title, coefficient_in_words(name, statistic), _of(name, statistic), statistic.scope or statistic.why)
            for (title, statistic), name in zip(statistics.items(), COEFFICIENTS, strict=True)
        ],
    )
    if minutes.agreement_by_verdict:
        yield Heading(3, "By verdict, each against all others")
        yield TextTable(
            "Agreement by verdict",
            ("Verdict", *(title for name, title in COEFFICIENTS.items() if name != "cohen")),
            [
                (title, *(coefficient_in_words(name, getattr(each, name)) for name in COEFFICIENTS if name != "cohen"))
                for title, each in minutes.agreement_by_verdict.items()
            ],
        )
    if minutes.pairs:
        yield Heading(3, "Who agrees with whom")
        yield TextTable(
            "Who agrees with whom",
            ("First", "Second", "Pictures of both", "Agree", "Cohen's kappa", "Remark"),
            [
                (
                    pair.first, pair.second, f"{pair.pictures:,}", "-" if pair.percent is None else f"{pair.percent:.0%}",
                    "-" if pair.cohen is None else f"{pair.cohen:.2f}", pair.why,
                )
                for pair in minutes.pairs
            ],
        )  # fmt: skip
    if minutes.round.settings.repeats:
        yield Heading(3, "Consistency")
        yield Paragraph("The share of hidden repeats on which a person gave the same verdict as the first time.")
        yield TextTable(
            "Consistency",
            ("Name", "Same verdict", "Repeats", "Remark"),
            [(name, percent(share), f"{share.n:,}", share.why) for name, share in minutes.consistency.items()],
        )


def _map_blocks(minutes: Minutes) -> Iterator[Block]:
    helped, shown = minutes.map_help, minutes.round.settings.maps
    if shown == rounds.NEVER:
        return
    yield Heading(2, "Did the maps help?")
    rows = [("Answers that say that the map helped", helped.helped)]
    if shown == RANDOM:
        rows += [
            ("Pairs of votes that agree, with maps", helped.agree_with_maps),
            ("Pairs of votes that agree, without maps", helped.agree_without_maps),
            ("Difference: with minus without", helped.difference),
            ("Votes equal to the final verdict, with maps", helped.right_with_maps),
            ("Votes equal to the final verdict, without maps", helped.right_without_maps),
            ("Difference: with minus without", helped.right_difference),
        ]
        yield Paragraph("Each person saw maps on half of the pictures, drawn by chance.")
    else:
        yield Paragraph("Everybody saw maps on every picture, so votes with and without maps cannot be compared.")
    yield TextTable(
        "Whether maps helped",
        ("Measure", "Value", "Of", "Remark"),
        [(title, percent(statistic), f"{statistic.n:,}", statistic.why) for title, statistic in rows],
    )


def _picture_blocks(round: Round, picture: PictureMinutes) -> Iterator[Block]:
    item, decision = picture.item, picture.decision
    yield Heading(3, f"{picture.number}. {item.name}")
    figures = [] if picture.thumbnail is None else [Figure(picture.thumbnail, f"Picture {picture.number}")]
    figures += [
        Figure(stored.picture, f"Map of {MAP_KINDS[kind]}. {stored.caption}") for kind, stored in picture.maps.items()
    ]
    if figures:
        yield FigureRow(figures)
    confidence = "" if item.confidence is None else f", confidence {item.confidence:.1%}"
    lines = [
        (
            "Label",
            (item.label or "none") + (f" (class {item.true_class})" if item.true_class not in (None, item.label) else ""),
        ),
        ("Predicted", f"{item.predicted}{confidence}"),
        ("Top classes", ", ".join(f"{name} {share:.1%}" for name, share in item.top5)),
    ]
    if decision is None:
        lines.append(("Final verdict", "open" if picture.votes else "open: nobody has voted"))
    else:
        verdict = round.settings.verdict_title(decision.verdict)
        label = f"; suggested label: {decision.suggested}" if decision.suggested else ""
        how = "adopted because all votes agree" if decision.unanimous else f"decided by {decision.person.in_words()}"
        reason = f"\nReason: {decision.reason}" if decision.reason else ""
        lines.append(("Final verdict", f"{verdict}{label}; {how}, {decision.at:{TIME}}{reason}"))
    yield TermList([*lines, *((vote.person, _vote(vote)) for vote in picture.votes)])


def _vote(vote: PictureVote) -> str:
    parts = [vote.verdict]
    parts += [f"severity {vote.severity}"] if vote.severity else []
    parts += [f"suggests the label {vote.suggested}"] if vote.suggested else []
    parts += ["without maps"] if not vote.map_shown else []
    parts += [f"the map {'helped' if vote.map_helped else 'did not help'}"] if vote.map_helped is not None else []
    parts += ["changed after a look at others' votes"] if vote.after_others else []
    return "; ".join(parts) + (f"\n{vote.comment}" if vote.comment else "")


def _tally(picture: PictureMinutes) -> str:
    return ", ".join(
        f"{count} {verdict}" for verdict, count in Counter(vote.verdict for vote in picture.votes).most_common()
    )


def percent(statistic: Statistic) -> str:
    """'61% [52%, 70%]', or a dash where there is none."""
    return _in_words(statistic, "{:.0%}")


def coefficient_in_words(name: str, statistic: Statistic) -> str:
    """A coefficient of Agreement by its name, with its interval, or a dash."""
    return _in_words(statistic, "{:.0%}" if name == "percent" else "{:.2f}")


def _in_words(statistic: Statistic, form: str) -> str:
    if statistic.value is None:
        return "-"
    value = form.format(statistic.value)
    if statistic.low is None or statistic.high is None:
        return value
    return f"{value} [{form.format(statistic.low)}, {form.format(statistic.high)}]"


def _of(name: str, statistic: Statistic) -> str:
    return f"{statistic.n:,} {'pairs of votes' if name == 'percent' else 'votes'} on {_pictures(statistic.pictures)}"


def _pictures(n: int) -> str:
    return "1 picture" if n == 1 else f"{n:,} pictures"
