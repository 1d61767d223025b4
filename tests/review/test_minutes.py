"""The minutes of a round: their figures are those of the raw rows, and their documents hold everything as text."""

import dataclasses
import re
from collections import Counter
from html.parser import HTMLParser

import pandas as pd
import pytest
from small_rounds import ANNA, BEN, CHRIS, SETTINGS, VERDICTS_OF, made_round, made_rows, settled_team
from sqlalchemy import Engine, select
from statsmodels.stats.proportion import proportion_confint

from xai_core.core.document import TextTable
from xai_core.core.errors import BadRequest
from xai_core.data.datasets import USUAL_WORLD, open_dataset
from xai_core.review import rounds, tables
from xai_core.review.database import reading
from xai_core.review.minutes import minutes
from xai_core.review.minutes_document import blocks, to_html, to_markdown, to_pdf
from xai_core.review.people import named
from xai_core.review.rounds import DISCUSSION, VerdictKind

HOSTILE = "<script>alert(1)</script> ![x](https://evil.example/x.png) [y](javascript:alert(1)) ' \" & \u202etxt"


def test_counts_are_those_of_the_raw_rows_with_their_denominators(engine: Engine) -> None:
    round = settled_team(engine, HOSTILE)
    (errors,) = minutes(engine, round).counts
    with reading(engine) as connection:
        raw = pd.DataFrame(connection.execute(select(tables.votes)).mappings())
        final = Counter(connection.execute(select(tables.verdicts.c.verdict)).scalars())
    voted = Counter(raw[raw["position"] < 8]["verdict"])  # the repeats are the positions 8 and 9
    assert (errors.title, errors.pictures, errors.settled, errors.votes) == ("Errors", 8, final.total(), 24)
    assert {count.verdict.id: count.pictures for count in errors.verdicts if count.pictures} == dict(final)
    assert {count.verdict.id: count.votes for count in errors.verdicts if count.votes} == dict(voted)
    label_wrong = errors.verdicts[0]
    assert (label_wrong.share.value, label_wrong.share.n) == (final["label_wrong"] / final.total(), final.total())
    low, high = proportion_confint(voted["label_wrong"], 24, method="wilson")
    assert label_wrong.vote_share.value == voted["label_wrong"] / 24
    assert (label_wrong.vote_share.low, label_wrong.vote_share.high) == pytest.approx((low, high))


def test_agreement_consistency_and_pairs_are_those_of_the_votes(engine: Engine) -> None:
    result = minutes(engine, settled_team(engine, HOSTILE))
    agreeing = sum(
        VERDICTS_OF[a][picture] == VERDICTS_OF[b][picture]
        for picture in range(8)
        for a, b in ((ANNA, BEN), (ANNA, CHRIS), (BEN, CHRIS))
    )
    assert result.agreement.percent.value == pytest.approx(agreeing / 24)
    assert {name: share.value for name, share in result.consistency.items()} == {
        "Anna (not verified)": 1, "Ben (not verified)": 1, "Chris (not verified)": 0,
    }  # fmt: skip
    both = sum(a == b for a, b in zip(VERDICTS_OF[ANNA], VERDICTS_OF[BEN], strict=True))
    percents = {frozenset((pair.first, pair.second)): pair.percent for pair in result.pairs}
    assert percents[frozenset(("Anna (not verified)", "Ben (not verified)"))] == pytest.approx(both / 8)
    assert set(result.agreement_by_verdict) >= {"Label wrong", "Shortcut", "Unusual picture"}


def test_what_to_do_follows_the_final_verdicts_and_the_rest_is_open(engine: Engine) -> None:
    result = minutes(engine, settled_team(engine, HOSTILE))
    lists = {actions.title: actions.actions for actions in result.action_lists}
    numbers = {title: [action.number for action in actions] for title, actions in lists.items()}
    assert numbers == {"Relabel": [1, 2], "Accept both labels": [], "Collect": [4, 7], "Fix": [3, 8]}
    assert [(action.change_to, action.severity) for action in lists["Relabel"]] == [("boat", "major"), ("car", "major")]
    assert lists["Relabel"][0].reason == "all who voted agree"
    assert [picture.number for picture in result.open_questions] == [6, 5]  # three verdicts, then two
    assert [change.state for change in result.states] == ["voting", "discussion"]
    assert [(who.name, who.role, who.done, who.total) for who in result.people][:1] == [
        ("Anna (not verified)", "owner", 10, 10)
    ]


def test_right_predictions_are_counted_apart_from_errors(engine: Engine) -> None:
    dataset = open_dataset(USUAL_WORLD)
    rows = made_rows(dataset, 5)
    rows.loc[[0, 3], "predicted"] = rows["true"]
    rows.loc[4, "true"] = None
    round = rounds.create(engine, ANNA, "A round", SETTINGS, rows, dataset)
    round = rounds.set_state(engine, round, DISCUSSION, ANNA)
    groups = minutes(engine, round).counts
    assert [(group.title, group.pictures, group.settled) for group in groups] == [
        ("Errors", 2, 0), ("Pictures without a true class", 1, 0), ("Right predictions", 2, 0)
    ]  # fmt: skip
    assert groups[0].verdicts[0].share.why == "nothing is settled"


def test_a_round_that_is_voted_on_has_no_minutes(engine: Engine) -> None:
    with pytest.raises(BadRequest, match="when its voting is closed"):
        minutes(engine, made_round(engine, 2))


def test_a_round_without_votes_and_one_with_verdicts_of_its_own_have_minutes(engine: Engine) -> None:
    own = (VerdictKind("good", "Good", "It is good."), VerdictKind("bad", "Bad", "It is bad."))
    round = rounds.set_state(engine, made_round(engine, 2, verdicts=own, maps="never"), DISCUSSION, ANNA)
    result = minutes(engine, round)
    assert result.action_lists == () and result.agreement.percent.why == "nobody has voted"
    text = to_markdown(result)
    assert "open: nobody has voted" in text and "lead to no list of their own" in text
    assert to_pdf(result).startswith(b"%PDF") and b"nobody has voted" in to_html(result)


class _Page(HTMLParser):
    """The tags, addresses and text of a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.addresses: list[str] = []
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        assert not [name for name, _ in attrs if name.startswith("on") or name == "srcset"]
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_is_one_file_that_fetches_nothing_and_runs_nothing(engine: Engine) -> None:
    result = minutes(engine, settled_team(engine, HOSTILE))
    html = to_html(result)
    page = _Page(html)
    assert page.tags["script"] == page.tags["iframe"] == page.tags["link"] == 0
    assert page.tags["img"] == 8 + 1
    assert all(address.startswith(("data:image/webp;base64,", "#")) for address in page.addresses)
    assert not re.search(rb"url\(|@import", html)
    assert page.text.count("<script>alert(1)</script>") >= 8  # of Ben's comments: text
    assert "\u202e" not in page.text
    assert "prefers-color-scheme: dark" in html.decode() and "@media print" in html.decode()


def test_markdown_shows_hostile_texts_as_text(engine: Engine) -> None:
    from markdown_it import MarkdownIt

    result = minutes(engine, settled_team(engine, HOSTILE))
    text = to_markdown(result)
    page = _Page(MarkdownIt(options_update={"html": True}).enable("table").render(text).encode())
    assert page.tags["script"] == page.tags["img"] == page.tags["a"] == 0
    assert page.text.replace("\u2060", "").count("[y](javascript:alert(1))") >= 8
    assert page.tags["table"] == sum(isinstance(block, TextTable) for block in blocks(result))


def test_a_pdf_has_the_pictures_and_page_numbers(engine: Engine) -> None:
    data = to_pdf(minutes(engine, settled_team(engine, HOSTILE)))
    assert data.startswith(b"%PDF")
    assert data.count(b"/DCTDecode") == 8 + 1  # each picture once, as JPEG


def test_long_and_foreign_texts_fit_into_a_pdf(engine: Engine) -> None:
    result = minutes(engine, settled_team(engine, HOSTILE))
    item = result.pictures[0].item._replace(name="x" * 1024, label="w " * 500)
    vote = dataclasses.replace(result.pictures[0].votes[0], comment="word " * 400, person="n" * 80)
    long = dataclasses.replace(result.pictures[0], item=item, votes=(vote,) * 5)
    actions = dataclasses.replace(
        result.action_lists[0],
        actions=tuple(action._replace(reason="r" * 2000, name="x" * 1024) for action in result.action_lists[0].actions),
    )
    result = dataclasses.replace(result, pictures=(long,), action_lists=(actions,), open_questions=(long,))
    assert to_pdf(result).startswith(b"%PDF")


def test_an_anonymous_round_has_numbers_instead_of_names_beside_votes(engine: Engine) -> None:
    result = minutes(engine, settled_team(engine, anonymous=True))
    people = {vote.person for picture in result.pictures for vote in picture.votes}
    assert people == {"Reviewer 1", "Reviewer 2", "Reviewer 3"} == set(result.consistency)
    assert {who.done for who in result.people} == {None}
    sections = to_markdown(result).split("## Verdicts")[1]
    assert "Ben" not in sections.replace("decided by Chris", "") and "Anna" not in sections


def test_more_pictures_than_a_document_holds_are_listed_without_copies(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("minutes", "minutes_document"):
        monkeypatch.setattr(f"xai_core.review.{module}.MOST_WITH_PICTURES", 3)
    result = minutes(engine, settled_team(engine, HOSTILE))
    assert [picture.thumbnail is not None for picture in result.pictures] == [True] * 3 + [False] * 5
    assert "The first 3 are shown with their small copy and maps" in to_markdown(result)


def test_hostile_names_of_people_are_text(engine: Engine) -> None:
    person = named("<img src=x onerror=alert(1)>", "b")
    round = made_round(engine, 2, owner=person)
    round = rounds.set_state(engine, round, DISCUSSION, person)
    page = _Page(to_html(minutes(engine, round)))
    assert "<img src=x onerror=alert(1)> (not verified)" in page.text
