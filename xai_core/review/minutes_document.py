"""The minutes of a round as a document: HTML, Markdown and PDF."""

from collections import Counter
from collections.abc import Iterator

from xai_core.core import document
from xai_core.core.document import Block, Figure, FigureRow, Heading, Paragraph, TermList, TextTable
from xai_core.core.version import __version__
from xai_core.review import rounds
from xai_core.review.agreement import Statistic
from xai_core.review.minutes import (
    MOST_WITH_PICTURES,
    NO_SUGGESTION,
    RELABEL,
    TIME,
    Action,
    ActionList,
    Minutes,
    PictureMinutes,
    PictureVote,
)
from xai_core.review.rounds import MAP_KINDS, RANDOM, UNTIL_CLOSED, UNTIL_VOTED, Round


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
