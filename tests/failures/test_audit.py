"""The audit: its figures are those of its parts, its report opens offline, and its pictures lead to the dashboard."""

import re
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest

from xai_core.core import settings
from xai_core.core.errors import BadRequest
from xai_core.data.datasets import open_dataset
from xai_core.data.predictions import read_predictions
from xai_core.failures import audit_document
from xai_core.failures.audit import SHOWN, STEPS, AuditedPredictions, audit
from xai_core.failures.error_groups import groups
from xai_core.failures.label_triage import triage
from xai_core.failures.plan import Plan
from xai_core.models.loading import load_model


@pytest.fixture(scope="module")
def shipped():
    """Model, dataset and predictions of the world with planted causes."""
    rows = read_predictions(settings.RESOURCES / "data" / "predictions" / "world_planted.parquet")
    return load_model("world_planted"), open_dataset("world:planted"), rows


@pytest.fixture(scope="module")
def audited(shipped):
    return AuditedPredictions(*shipped, groups=1, pictures=16)


@pytest.fixture(scope="module")
def sections(audited):
    return {section.title: section for section in audit(audited)}


def test_every_step_has_its_section_with_a_sentence(sections):
    assert list(sections) == list(STEPS)
    assert all(
        section.sentences and all(sentence.endswith(".") for sentence in section.sentences) for section in sections.values()
    )


def test_figures_are_those_of_the_rows(sections, shipped):
    _, dataset, rows = shipped
    wrong = (rows["true"] != rows["predicted"]).to_numpy()
    features = np.stack(rows["embedding"].to_list())
    assert f"{(~wrong).sum():,} of {len(rows):,} pictures are predicted correctly" in sections["Overview"].sentences[0]
    flags = triage(features, rows["true"].to_list()).flags
    assert f"contradict {len(flags):,} of {len(rows):,} labels" in sections["Labels"].sentences[0]
    result = groups(rows, dataset.attributes(rows["path"]), features)
    assert f"{len(result.confirmed):,} are confirmed" in sections["Groups"].sentences[0]
    assert [some.paths for some in sections["Groups"].pictures] == [
        tuple(rows["path"].iloc[members]) for members in result.members[: len(result.confirmed)]
    ]


def test_no_more_pictures_are_asked_than_allowed(sections):
    tables = [table for name, table in sections["What-ifs"].tables.items()]
    assert tables and all((table["errors"] + table["right"]).max() <= 16 for table in tables)


def test_the_report_opens_offline_and_each_picture_leads_to_the_dashboard(audited, sections):
    links = audit_document.Links("http://localhost:8501/", "world:planted")
    figures = audit_document.pictures_of(audited, [sections["Labels"]], "grad_cam", links)
    assert len(figures) == SHOWN
    files = audit_document.files(audited, list(sections.values()), figures)
    page = files["report.html"].decode()
    assert not re.search(r'(?:src|action)="http', page) and "<script" not in page
    addresses = re.findall(r'<a href="(http[^"]+)"', page)
    assert len(addresses) >= 2 * SHOWN and {urlsplit(address).path for address in addresses} == {"/Failure_analysis"}
    named = [parse_qs(urlsplit(address.replace("&amp;", "&")).query) for address in addresses]
    assert {query["sample"][0] for query in named} == set(figures)
    assert {(query["dataset"][0], query["model"][0]) for query in named} == {("world:planted", audited.model.title)}
    plan = Plan.from_json(files["plan.json"])
    assert list(plan.actions) == [action for section in sections.values() for action in section.actions]
    for section in sections.values():
        for name, table in section.tables.items():
            written = pd.read_csv(pd.io.common.BytesIO(files[audit_document.file_name(section, name)]))
            assert len(written) == len(table)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows.assign(predicted=rows["true"]), "All pictures are predicted correctly"),
        (lambda rows: rows.assign(true="boat").assign(predicted="car"), "All pictures are predicted wrongly"),
        (lambda rows: rows.head(2), "fewer than two"),
    ],
    ids=["perfect", "always wrong, one class", "two pictures"],
)
def test_where_nothing_is_nothing_is_found(shipped, change, said):
    model, dataset, rows = shipped
    sections = list(audit(AuditedPredictions(model, dataset, change(rows).reset_index(drop=True), pictures=4)))
    assert said in " ".join(sentence for section in sections for sentence in section.sentences)
    assert {action.kind for section in sections for action in section.actions} <= {"relabel"}  # of labels, not of answers


@pytest.mark.parametrize("change", [lambda rows: rows.head(0), lambda rows: rows.drop(columns="embedding")])
def test_predictions_that_cannot_be_audited_are_refused(shipped, change):
    model, dataset, rows = shipped
    with pytest.raises(BadRequest):
        list(audit(AuditedPredictions(model, dataset, change(rows))))
