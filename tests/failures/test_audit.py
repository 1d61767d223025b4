"""The audit: its figures are those of its parts, its report opens offline, and its pictures lead to the dashboard."""

import itertools
import re
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest
from skimage.color import rgb2gray

from xai_core.analysis import predict
from xai_core.core import settings
from xai_core.core.errors import BadRequest
from xai_core.data.datasets import open_dataset
from xai_core.data.predictions import read_predictions
from xai_core.data.world.scene import draw
from xai_core.failures import audit_causes, audit_document, group_evidence, group_pictures
from xai_core.failures.audit import audit
from xai_core.failures.audited import SHOWN, AuditedPredictions, TrainingPredictions
from xai_core.failures.error_groups import groups
from xai_core.failures.label_triage import triage
from xai_core.failures.plan import Plan
from xai_core.models.loading import load_model

MOST = 36  # pictures of a group


@pytest.fixture(scope="module")
def predicted(tmp_path_factory):
    """Model, dataset and predictions: 300 pictures where the stamp of the training cars is on other things."""
    model, world = load_model("world_planted"), open_dataset("world:planted:mark")
    dataset = replace(world, samples=world.samples[:300], metadata=world.metadata.iloc[:300])
    file = tmp_path_factory.mktemp("audit") / "predictions.parquet"
    assert list(predict.classify(model, dataset, file, embeddings=True))[-1].done == 300
    return model, dataset, read_predictions(file)


@pytest.fixture(scope="module")
def training():
    rows = read_predictions(settings.RESOURCES / "data" / "predictions" / "training_world_planted.parquet")
    return TrainingPredictions("world:planted:train", rows.head(800))


@pytest.fixture(scope="module")
def reads():
    """The names of the pictures that were read for groups, in order, once for each time."""
    return []


@pytest.fixture(scope="module")
def audited(predicted, training):
    of = AuditedPredictions(*predicted, groups=1, pictures=MOST, training=training)
    of.__dict__["looked_into"] = of.looked_into[:1]  # all errors are left out, for the time that they take
    return of


@pytest.fixture(scope="module")
def sections(audited, reads):
    read = group_pictures.read
    with pytest.MonkeyPatch.context() as patch:

        def noted(chosen, dataset, model):
            reads.append(chosen["path"].tolist())
            return read(chosen, dataset, model)

        patch.setattr(group_pictures, "read", noted)
        return {section.title: section for section in audit(audited)}


TITLES = ("Overview", "Labels", "Groups", "Hidden region", "What-ifs", "Evidence", "Edit the head", "Abstain")


def test_every_step_has_its_section_with_a_sentence(sections):
    assert tuple(sections) == TITLES and all(section.done for section in sections.values())
    assert all(
        section.sentences and all(sentence.rstrip().endswith(".") for sentence in section.sentences)
        for section in sections.values()
    )


def test_figures_are_those_of_the_rows(sections, predicted, audited):
    _, dataset, rows = predicted
    wrong = (rows["true"] != rows["predicted"]).to_numpy()
    features = np.stack(rows["embedding"].to_list())
    assert f"{(~wrong).sum():,} of {len(rows):,} pictures are predicted correctly" in sections["Overview"].sentences[0]
    flags = triage(features, rows["true"].to_list()).flags
    assert f"contradict {len(flags):,} of {len(rows):,} labels" in sections["Labels"].sentences[0]
    known = pd.concat([dataset.attributes(rows["path"]), audited.statistics.reset_index(drop=True)], axis=1)
    result = groups(rows, known, features, audited.maps)
    assert f"{len(result.confirmed):,} are confirmed" in sections["Groups"].sentences[0]
    assert [some.paths for some in sections["Groups"].pictures] == [
        tuple(rows["path"].iloc[members]) for members in result.members[: len(result.confirmed)]
    ]


def test_the_report_names_the_stamp(sections, predicted, audited):
    """The group of the stamped pictures, and the place of the stamp; counted from raw rows and from what was drawn."""
    _, dataset, rows = predicted
    title, members = audited.looked_into[0]
    wrong, mark = (rows["true"] != rows["predicted"]).to_numpy(), dataset.metadata["mark"].loc[rows["path"]].to_numpy(bool)
    inside = np.isin(np.arange(len(rows)), members)
    marked = inside & wrong & mark & (rows["predicted"] == "car").to_numpy()
    assert marked.sum() >= 0.8 * (inside & wrong).sum() > 10  # no attribute tells the mark: the group is found without it
    row = audited.error_groups.table.iloc[0]
    assert (row["group"], row["pictures"], row["errors"]) == (title, inside.sum(), (inside & wrong).sum())
    held_out = inside & audited.error_groups.held_out
    report = audit_document.files(audited, list(sections.values()), {})["report.md"].decode().replace("\\", "")
    assert f"Collect more pictures like: {title}" in report
    assert f"{(held_out & wrong).sum()} of {held_out.sum()} are wrong" in report
    (words,) = (line for line in sections["Hidden region"].sentences if line.startswith(title))
    assert "The region causes errors" in words and words.rstrip() in report
    scene = dataset.scene(rows["path"][int(np.flatnonzero(marked)[0])])
    stamp = draw(scene)[1]["mark"] > 0.5
    down, across = 100 * (np.argwhere(stamp).mean(0) + 0.5) / stamp.shape
    said = [int(number) for number in re.findall(r"(\d+)% of the (?:width|height)", words)]
    assert np.abs(np.array(said) - (across, down)).max() < 10


def test_the_errors_by_statistics_are_counted_from_the_pictures(sections, predicted):
    """Brightness is measured again here, from the pixels."""
    _, dataset, rows = predicted
    table = sections["Groups"].tables["errors by picture statistics"]
    some = table[table["statistic"] == "brightness"].set_index("value")
    assert some["pictures"].sum() == len(rows)
    grey = [rgb2gray(np.asarray(dataset.open(path))).mean() for path in rows["path"]]
    wrong = (rows["true"] != rows["predicted"]).to_numpy()
    edges = np.quantile(grey, [0, 0.25, 0.5, 0.75, 1])
    for low, high in itertools.pairwise(edges):
        inside = (grey > low if low > edges[0] else grey >= low) & (grey <= high)
        row = some.loc[f"{low:.3g} to {high:.3g}"]
        assert (row["pictures"], row["errors"]) == (inside.sum(), (inside & wrong).sum())


def test_what_groups_were_searched_by_is_said_with_its_counts(sections, predicted):
    rows = predicted[2]
    wrong = (rows["true"] != rows["predicted"]).to_numpy()
    words = sections["Groups"].sentences[1]
    assert f"statistics of {len(rows)} of {len(rows)} pictures (brightness" in words
    assert f"Grad-CAM maps of {wrong.sum()} of {wrong.sum()} errors and of {wrong.sum()} of {(~wrong).sum()} right" in words


def test_maps_are_left_out_where_they_are_not_wanted(audited):
    without = replace(audited, by_maps=False)
    without.__dict__["statistics"] = audited.statistics  # not measured again
    assert without.maps is None and not any("of the maps" in name for name in without.error_groups.table["group"])


def test_a_groups_pictures_are_read_once(sections, reads):
    """Once for both the hidden region and the what-ifs; other pictures are read for their backgrounds."""
    assert len(reads) == 2
    assert set(sections["What-ifs"].actions[0].paths) <= set(reads[0])


def test_the_evidence_has_the_figures_of_the_library(sections, predicted, audited, training):
    model, _, rows = predicted
    title, members = audited.looked_into[0]
    judgement = triage(np.stack(training.rows["embedding"].to_list()), training.rows["true"].to_list())
    head = group_evidence.linear_head(model, training.rows)
    result = group_evidence.group_evidence(
        training.rows, rows, members, judgement, head=head, head_classes=model.class_names
    )
    words = " ".join(sections["Evidence"].sentences)
    count = len(result.errors)
    assert f"{title}: a probe of {len(training.rows)} training pictures (world:planted:train)" in words
    assert f"to {round(result.evidence.agreement * count)} of {count} errors" in words
    assert result.evidence.refits["influence"].sentence in words
    table = sections["Evidence"].tables[f"training pictures behind {title}"]
    removed = result.evidence.refits["influence"].removed
    assert table.loc[table["measure"] == "influence", "path"].tolist() == training.rows["path"].iloc[removed].tolist()
    planned = group_evidence.actions(result, title, rows, training.title)
    assert all(action in sections["Evidence"].actions for action in planned)


def test_without_training_pictures_it_is_said(audited):
    draft = replace(audited, training=None, by_maps=False, pictures=2)
    draft.__dict__.update(error_groups=audited.error_groups, statistics=None)
    evidence = audit_causes.causes(draft)[2]
    assert audit_causes.NO_TRAINING in evidence.sentences


def test_no_more_pictures_are_asked_than_allowed(sections):
    tables = [table for name, table in sections["What-ifs"].tables.items()]
    assert tables and all((table["errors"] + table["right"]).max() <= MOST for table in tables)


def test_the_report_opens_offline_and_each_picture_leads_to_the_dashboard(audited, sections):
    links = audit_document.Links("http://localhost:8501/", "world:planted:mark")
    figures = audit_document.pictures_of(audited, [sections["Labels"]], "grad_cam", links)
    assert len(figures) == SHOWN
    files = audit_document.files(audited, list(sections.values()), figures, links)
    page = files["report.html"].decode()
    assert not re.search(r'(?:src|action)="http', page) and "<script" not in page
    addresses = re.findall(r'<a href="(http[^"]+)"', page)
    assert len(addresses) >= 2 * SHOWN and {urlsplit(address).path for address in addresses} == {"/Failure_analysis"}
    named = [parse_qs(urlsplit(address.replace("&amp;", "&")).query) for address in addresses]
    assert {query["sample"][0] for query in named if "sample" in query} == set(figures)
    assert [query["step"] for query in named if "sample" not in query] == [["Plan"]]  # the line below the settings
    assert "](<http://localhost:8501/Failure_analysis?dataset=world" in files["report.md"].decode()
    assert {(query["dataset"][0], query["model"][0]) for query in named} == {("world:planted:mark", audited.model.title)}
    plan = Plan.from_json(files["plan.json"])
    assert list(plan.actions) == [
        replace(action, step=title) for title, section in sections.items() for action in section.actions
    ]
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
def test_where_nothing_is_nothing_is_found(predicted, change, said):
    model, dataset, rows = predicted
    sections = list(audit(AuditedPredictions(model, dataset, change(rows).reset_index(drop=True), pictures=4)))
    assert said in " ".join(sentence for section in sections for sentence in section.sentences)
    assert {action.kind for section in sections for action in section.actions} <= {"relabel"}  # of labels, not of answers


@pytest.mark.parametrize("change", [lambda rows: rows.head(0), lambda rows: rows.drop(columns="embedding")])
def test_predictions_that_cannot_be_audited_are_refused(predicted, change):
    model, dataset, rows = predicted
    with pytest.raises(BadRequest):
        list(audit(AuditedPredictions(model, dataset, change(rows))))
