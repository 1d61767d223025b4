"""The section Agreement: how far people agree, with whom, on which pictures, and with themselves.

All figures are of the votes that people cast before they looked at those of others.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd
import streamlit as st
from sqlalchemy import Engine

from xai_core.app.charts import review as charts
from xai_core.app.review import access, closed_votes
from xai_core.app.review.discussion import open_picture
from xai_core.app.shared import cache, display
from xai_core.app.shared.error_text import error_text
from xai_core.core import markdown
from xai_core.core.errors import XaiError
from xai_core.review import agreement, consolidation, rounds, votes
from xai_core.review.agreement import Agreement, DisputedPicture, MapHelp, PersonPair, Statistic
from xai_core.review.minutes_document import COEFFICIENTS
from xai_core.review.people import Person
from xai_core.review.rounds import Round

ALL = "All verdicts"
MOST = 100  # disputed pictures that are listed
SHARE, KAPPA = "Share of pictures", "Cohen's kappa"


class RoundAgreement(NamedTuple):
    """Everything that this section shows, but whether maps helped."""

    whole: Agreement
    by_verdict: dict[str, Agreement]
    pairs: list[PersonPair]
    disputed: list[DisputedPicture]
    consistency: dict[str, Statistic]


def results(engine: Engine, round: Round) -> RoundAgreement:
    """Computed once for the votes of a round, with the round's seed. Raises BadRequest while the round is voted on."""
    table = closed_votes.table(engine, round, blind=True)
    seed = round.settings.seed

    def compute() -> RoundAgreement:
        return RoundAgreement(
            agreement.agreement(table, seed=seed), agreement.by_verdict(table, seed=seed), agreement.pairs(table),
            agreement.disputed(table), agreement.consistency(table),
        )  # fmt: skip

    return cache.get_or_compute(f"agreement {closed_votes.key(engine, round)}", compute)


def map_help(engine: Engine, round: Round) -> MapHelp:
    """Whether maps helped; the right verdicts are the final ones, as far as pictures are settled."""
    table = closed_votes.table(engine, round, blind=True)
    latest = consolidation.latest(engine, round)
    final = {position: decision.verdict for position, decision in latest.items() if decision.verdict}
    said = sum(decision.version for decision in latest.values())  # each decision adds one
    return cache.get_or_compute(
        f"map help {said} {closed_votes.key(engine, round)}",
        lambda: agreement.map_help(table, final, seed=round.settings.seed),
    )


def show(engine: Engine, round: Round, person: Person | None, role: str) -> None:
    """All figures, from the whole to the single picture."""
    if round.state == rounds.VOTING:
        st.info("How far people agree is shown when the owner has closed the voting.")
        return
    try:
        figures, helped = results(engine, round), map_help(engine, round)
        names = unique_names(votes.names(engine, round))
        st.markdown(sentence(round, figures.whole))
        if not figures.whole.votes:
            return
        _coefficients(round, figures)
        _people(figures.pairs, names)
        _disputed(engine, round, figures.disputed)
        _consistency(round, figures.consistency, names)
        _maps(round, helped)
    except XaiError as error:
        st.error(error_text(error))
        st.button("Try again", icon=":material/refresh:")


# --- in words -----------------------------------------------------------------------------------------------------------


def in_words(statistic: Statistic, form: str = ".2f") -> str:
    """'0.61 [0.52, 0.70]'; a dash where there is no value."""
    if statistic.value is None:
        return "–"
    if statistic.low is None or statistic.high is None:
        return f"{statistic.value:{form}}"
    return f"{statistic.value:{form}} [{statistic.low:{form}}, {statistic.high:{form}}]"


def points(difference: Statistic) -> str:
    """'+7 points [-2, +15]': a difference of two shares."""
    if difference.value is None:
        return "–"
    words = f"{100 * difference.value:+.0f} points"
    if difference.low is None or difference.high is None:
        return words
    return f"{words} [{100 * difference.low:+.0f}, {100 * difference.high:+.0f}]"


def sentence(round: Round, whole: Agreement) -> str:
    """The agreement in one plain sentence or two, as Markdown."""
    percent, alpha = whole.percent, whole.krippendorff
    if percent.value is None:
        return f"There is no agreement to measure: {percent.why}."
    words = (
        f"On **{percent.pictures:,}** of {round.pictures:,} pictures at least two people voted; they agree on "
        f"**{in_words(percent, '.0%')}** of {percent.n:,} pairs of votes. "
    )
    if alpha.value is None:
        return words + f"A value that is corrected for chance cannot be computed: {alpha.why}."
    return words + (
        f"Corrected for chance, Krippendorff's alpha is **{in_words(alpha)}**: 0 is what chance alone would give, 1 is full "
        "agreement."
    )


def unique_names(names: Mapping[str, str]) -> dict[str, str]:
    """A name for each person's key, with a number behind it where two people have the same one."""
    counts: dict[str, int] = {}
    unique = {}
    for key, name in names.items():
        counts[name] = counts.get(name, 0) + 1
        unique[key] = name if counts[name] == 1 else f"{name} ({counts[name]})"
    return unique


# --- coefficients -------------------------------------------------------------------------------------------------------


def coefficient_lines(round: Round, figures: RoundAgreement) -> pd.DataFrame:
    """A row for each coefficient, of all verdicts and of each against all others."""
    tables = {ALL: figures.whole}
    tables |= {kind.title: figures.by_verdict[kind.id] for kind in round.settings.verdicts if kind.id in figures.by_verdict}
    lines = []
    for verdict, table in tables.items():
        for field, title in COEFFICIENTS.items():
            statistic: Statistic = getattr(table, field)
            lines.append(
                {
                    "verdict": verdict, "coefficient": title, "value": statistic.value, "low": statistic.low,
                    "high": statistic.high, "text": in_words(statistic, ".0%" if field == "percent" else ".2f"),
                    "why": statistic.why, "scope": statistic.scope,
                }
            )  # fmt: skip
    return pd.DataFrame(lines)


def _coefficients(round: Round, figures: RoundAgreement) -> None:
    st.subheader("Agreement")
    whole = figures.whole
    st.caption(
        f"{whole.people:,} people cast {whole.votes:,} votes on {whole.pictures:,} pictures before they saw others' votes; "
        "only these count here. Brackets hold 95% intervals: percentiles of a bootstrap over pictures."
    )
    lines = coefficient_lines(round, figures)
    verdicts = list(dict.fromkeys(lines["verdict"]))
    defined = lines.dropna(subset="value")["coefficient"].unique()
    names = [title for title in COEFFICIENTS.values() if title in defined]
    table = lines.pivot(index="verdict", columns="coefficient", values="text").loc[verdicts, list(COEFFICIENTS.values())]
    display.table(
        table.reset_index(), hide_index=True, alt="Coefficients of agreement with intervals, of all verdicts and of each",
        column_config={"verdict": st.column_config.Column(pinned=True)},
    )  # fmt: skip
    for remark in remarks(lines):
        st.caption(markdown.escape(remark))
    if names:
        display.chart(
            charts.coefficients(lines, verdicts, names), width="stretch",
            alt=f"Coefficients of agreement for {len(verdicts)} rows; the table above has the values.",
        )  # fmt: skip


def remarks(lines: pd.DataFrame) -> list[str]:
    """Why values or intervals are missing, and of which pictures a coefficient is; each reason once, with what it is of."""
    result = []
    for field, stem in (("why", ""), ("scope", "of ")):
        for (coefficient, reason), rows in lines[lines[field] != ""].groupby(["coefficient", field], sort=False):
            of = ", ".join(rows["verdict"]) if len(rows) < lines["verdict"].nunique() else "all rows"
            result.append(f"{coefficient} ({of}): {stem}{reason}.")
    return result


# --- people -------------------------------------------------------------------------------------------------------------


def _people(pairs: Sequence[PersonPair], names: Mapping[str, str]) -> None:
    st.subheader("Who agrees with whom")
    if not pairs:
        st.caption("Only one person voted.")
        return
    measure = st.segmented_control("Measure", [SHARE, KAPPA], default=SHARE, required=True, key="measure of pairs")
    lines = pair_lines(pairs, names, kappa=measure == KAPPA)
    people = [name for name in names.values() if name in {*lines["first"], *lines["second"]}]
    display.chart(
        charts.people(lines, people, measure, signed=measure == KAPPA), width="content",
        alt=f"{measure} for every two of {len(people)} people; the table below has the values.",
    )  # fmt: skip
    with st.expander("As a table"):
        display.table(
            pd.DataFrame(
                {
                    "first": names[pair.first], "second": names[pair.second], "pictures of both": pair.pictures,
                    "agree": pair.percent, "Cohen's kappa": pair.cohen, "remark": pair.why,
                }
                for pair in pairs
            ),
            hide_index=True, alt="Every two people, with the share of pictures on which they agree",
            column_config={"agree": st.column_config.NumberColumn(format="percent"),
                           "Cohen's kappa": st.column_config.NumberColumn(format="%.2f")},
        )  # fmt: skip


def pair_lines(pairs: Sequence[PersonPair], names: Mapping[str, str], kappa: bool) -> pd.DataFrame:
    """A row for every two people, with the value of one measure."""
    lines = []
    for pair in pairs:
        value = pair.cohen if kappa else pair.percent
        text = "–" if value is None else f"{value:.2f}" if kappa else f"{value:.0%}"
        lines.append(
            {"first": names[pair.first], "second": names[pair.second], "value": value, "text": text,
             "pictures": pair.pictures}
        )  # fmt: skip
    return pd.DataFrame(lines)


# --- pictures -----------------------------------------------------------------------------------------------------------


def _disputed(engine: Engine, round: Round, disputed: Sequence[DisputedPicture]) -> None:
    st.subheader("The pictures disputed most")
    if not disputed:
        st.caption("No picture has two different verdicts.")
        return
    listed = disputed[:MOST]
    more = f" The first {MOST} are listed." if len(disputed) > MOST else ""
    st.caption(
        f"{len(disputed):,} of {round.pictures:,} pictures have more than one verdict.{more} Open one in the discussion."
    )
    items = access.items(engine, round)
    titles = {kind.id: kind.title for kind in round.settings.verdicts}
    rows = pd.DataFrame(
        {
            "picture": entry.position + 1, "file": items[entry.position].name,
            "votes": ", ".join(
                f"{count} {titles[verdict]}" for verdict, count in sorted(entry.counts.items(), key=lambda pair: -pair[1])
            ),
            "disagreement (bits)": entry.entropy,
        }
        for entry in listed
    )  # fmt: skip
    display.openable_table(
        rows, "disputed pictures", lambda row: open_picture(listed[row].position),
        columns={"disagreement (bits)": st.column_config.NumberColumn(format="%.2f", help=BITS)},
        alt="The pictures with the most different votes, each with a button that opens it in the discussion",
    )  # fmt: skip
    st.selectbox(
        "Open a picture in the discussion", range(len(listed)), index=None, key="disputed picture",
        format_func=lambda place: f"{listed[place].position + 1}: {items[listed[place].position].name}",
        placeholder="Choose", on_change=_open_chosen, args=([entry.position for entry in listed],),
    )  # fmt: skip


BITS = (
    "The entropy of the votes: 0 where all agree, 1 where two verdicts have half of the votes each, more with more verdicts."
)


def _open_chosen(positions: Sequence[int]) -> None:
    place = st.session_state["disputed picture"]
    if place is not None:
        st.session_state["disputed picture"] = None
        open_picture(positions[place])


# --- with oneself, and with maps ----------------------------------------------------------------------------------------


def _consistency(round: Round, consistency: Mapping[str, Statistic], names: Mapping[str, str]) -> None:
    st.subheader("Consistency with oneself")
    if not round.settings.repeats:
        st.caption("This round has no hidden repeats.")
        return
    st.caption("The share of hidden repeats on which a person gave the same verdict as the first time (Wilson intervals).")
    display.table(
        pd.DataFrame(
            {
                "name": names[person], "same verdict": in_words(share, ".0%"), "repeats": share.n,
                "remark": share.why,
            }
            for person, share in consistency.items()
        ),
        hide_index=True, alt="For each person, the share of repeats with the same verdict",
    )  # fmt: skip


def _maps(round: Round, helped: MapHelp) -> None:
    shown = round.settings.maps
    if shown == rounds.NEVER:
        return
    st.subheader("Did the maps help?")
    if shown != rounds.RANDOM:
        st.caption("Everybody saw maps on every picture, so votes with and without maps cannot be compared.")
        st.markdown(_answers(helped.helped))
        return
    st.caption("Each person saw maps on half of the pictures, drawn by chance.")
    st.markdown(_answers(helped.helped))
    st.markdown(
        _compared("Pairs of votes that agree", helped.agree_with_maps, helped.agree_without_maps, helped.difference, "pairs")
    )
    st.markdown(
        _compared(
            "Votes that are the final verdict",
            helped.right_with_maps,
            helped.right_without_maps,
            helped.right_difference,
            "votes",
        )
    )


def _answers(helped: Statistic) -> str:
    if helped.value is None:
        return f"{helped.why.capitalize()}."
    return f"**{in_words(helped, '.0%')}** of {helped.n:,} answers say that the map helped."


def _compared(what: str, with_maps: Statistic, without: Statistic, difference: Statistic, of: str) -> str:
    if difference.value is None:
        return f"{what}: cannot be compared, because {difference.why}."
    words = (
        f"{what}: with maps **{in_words(with_maps, '.0%')}** of {with_maps.n:,} {of}, without maps "
        f"**{in_words(without, '.0%')}** of {without.n:,}; the difference is **{points(difference)}**. "
    )
    if difference.low is None or difference.high is None:
        return words
    if difference.low > 0:
        return words + "More with maps than chance explains."
    return words + ("Fewer with maps than chance explains." if difference.high < 0 else "This may be chance.")
