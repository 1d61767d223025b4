"""The page Failure analysis in Streamlit's test harness."""

import re
from collections import Counter
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
from opened_pages import ROOT, opened, press_row, text

from xai_core.app.failures import repair_view
from xai_core.app.failures.group_choice import offered
from xai_core.app.shared import cache, jobs, predictions
from xai_core.data.datasets import labels_csv, open_dataset
from xai_core.data.predictions import read_predictions
from xai_core.failures import audit_document
from xai_core.failures.audited import AuditedPredictions, PictureList, Section
from xai_core.failures.error_groups import actions, groups
from xai_core.failures.group_repair import GroupRepair, head_of, repair_group
from xai_core.failures.head_edits import Head, compare_heads
from xai_core.failures.head_repair import Repair
from xai_core.failures.label_triage import triage
from xai_core.failures.plan import Plan
from xai_core.failures.relabelling import relabel_action, relabel_estimate, relabelled
from xai_core.models.loading import load_model
from xai_core.models.zoo.catalog import cards

PAGE = "pages/7_Failure_analysis.py"


def shipped_rows():
    (file,) = (ROOT / "data" / "predictions").glob("world_planted*.parquet")
    return read_predictions(file)


def shipped_triage():
    rows = shipped_rows()
    return rows, triage(np.stack(rows["embedding"].to_list()), rows["true"].to_list())


def test_the_figures_of_the_labels_are_those_of_the_triage():
    """Computed again from the predictions that come with the app."""
    rows, judgement = shipped_triage()
    flags, words = judgement.flags, text(opened(PAGE))
    right = (1 - flags["score"]).sum()
    assert f"**{len(flags)} of {len(rows):,} labels are flagged**" in words
    assert f"About **{len(flags) - right:.0f}** of the flagged labels are expected to be wrong, and **{right:.0f}**" in words
    assert f"about {judgement.pictures['score'].sum():.0f} are expected to be wrong" in words
    assert f"{judgement.pictures['ambiguous'].sum()} ambiguous pictures, {len(judgement.duplicates)} pairs" in words
    assert f"contradict {len(flags)} of {len(rows):,} labels" in words
    answers, labels = rows["predicted"].to_numpy(), rows["true"].to_numpy(copy=True)
    before = (answers == labels).mean()
    labels[flags["picture"]] = flags["suggested"]
    assert f"{before:.1%} before and {(answers == labels).mean():.1%} after" in words
    assert relabel_estimate(answers, judgement).reason in words


def test_the_flagged_pictures_are_listed_and_ranked_and_open_the_drawer():
    app = opened(PAGE)
    rows, judgement = shipped_triage()
    flags = judgement.flags
    listed = next(element.value for element in app.dataframe if "suggested" in element.value)
    assert listed["path"].tolist() == rows["path"].iloc[flags["picture"]].tolist()
    assert listed["suggested"].tolist() == flags["suggested"].tolist() and listed["wrong"].is_monotonic_decreasing
    app = press_row(app, "Flagged labels, the most likely wrong first", 2)
    assert app.query_params["sample"] == listed["path"].iloc[2]
    assert f"Flagged labels, the most likely wrong first: **3** of {len(flags)}" in text(app)


def test_the_tables_of_corrected_labels_have_all_suggestions_or_the_ticked_ones():
    app = opened(PAGE)
    rows, judgement = shipped_triage()
    dataset, flags = open_dataset("world:planted"), judgement.flags
    suggested = dict(zip(rows["path"].iloc[flags["picture"]], flags["suggested"], strict=True))
    first = next(iter(suggested))
    assert [name for name in downloads(app) if name.startswith("Corrected")] == [f"Corrected labels, all {len(flags)} (CSV)"]
    ticks = [box for box in app.checkbox if box.label.startswith("Take ")]
    assert ticks[0].label == f"Take {suggested[first]}" and not ticks[0].value
    ticks[0].check().run()
    app.segmented_control(key="labels").set_value("Outliers").run()  # the tick is kept where its box is not shown
    app.segmented_control(key="labels").set_value("Flagged").run()
    assert [box.value for box in app.checkbox if box.label.startswith("Take ")][:2] == [True, False]
    assert "Corrected labels, the 1 ticked (CSV)" in downloads(app)
    changed = dict(relabelled(dataset.samples, rows, {first: suggested[first]}))
    before = {sample.name: sample.label for sample in dataset.samples}
    assert {name for name, label in changed.items() if label != before[name]} == {first} and changed.keys() == before.keys()
    assert labels_csv(changed.items()).startswith(b"path,label\n")


def downloads(app):
    return [button.proto.label for button in app.get("download_button")]


def test_ambiguous_pictures_are_counted_by_pairs_of_raw_rows():
    app = opened(PAGE, labels="Ambiguous")
    _, judgement = shipped_triage()
    both = judgement.pictures[judgement.pictures["ambiguous"]]
    pairs = [" or ".join(sorted(pair)) for pair in zip(both["label"], both["other"], strict=True)]
    listed = next(element.value for element in app.dataframe if "both may hold" in element.value)
    assert dict(zip(listed["both may hold"], listed["pictures"], strict=True)) == Counter(pairs)
    assert listed["pictures"].is_monotonic_decreasing and f"**{len(both)} of 1,000 pictures**" in text(app)
    app = press_row(app, "ambiguous pairs", 0)
    assert f"Both may hold: {listed['both may hold'][0]}: **1** of {listed['pictures'][0]}" in text(app)


@pytest.mark.parametrize(
    ("part", "words"), [("Near duplicates", "no near duplicates with different labels"), ("Outliers", "no outliers")]
)
def test_parts_without_a_picture_say_so(part, words):
    app = opened(PAGE, labels=part)
    assert any(words in box.value for box in app.info) and not app.error


def test_confirmed_groups_and_their_errors_are_counted_from_raw_rows():
    app = opened(PAGE, step="Groups")
    rows, dataset = shipped_rows(), open_dataset("world:planted")
    known = dataset.attributes(rows["path"])
    result = groups(rows, known, np.stack(rows["embedding"].to_list()))
    wrong = (rows["true"] != rows["predicted"]).to_numpy()
    inside = {
        place for members, ok in zip(result.members, result.table["confirmed"], strict=True) if ok for place in members
    }
    words = text(app)
    assert f"{len(result.confirmed)} of {len(result.table)} tested groups" in words
    assert f"{sum(wrong[place] for place in inside):,} of all {wrong.sum():,} errors" in words
    assert not app.exception and not app.error


def test_the_plan_holds_the_actions_that_were_not_taken_out():
    app = opened(PAGE, step="Groups")
    titles = [box.label for box in app.checkbox]
    assert len(titles) >= 2
    app.checkbox[0].uncheck().run()
    app.segmented_control(key="step").set_value("Plan").run()
    assert [(box.label, box.value) for box in app.checkbox] == [(t, place > 0) for place, t in enumerate(titles)]
    app.checkbox[1].uncheck().run()
    assert "Not looked at yet, so that the plan has no actions of: Labels" in text(app)
    app.segmented_control(key="step").set_value("Groups").run()
    assert [box.value for box in app.checkbox][:2] == [False, False] and all(box.value for box in app.checkbox[2:])
    app.segmented_control(key="step").set_value("Labels").run()
    app.segmented_control(key="step").set_value("Plan").run()
    assert [box.label for box in app.checkbox[1:]] == titles and app.checkbox[0].label.startswith("**Relabel**")
    assert not app.exception


def test_the_plan_counts_each_picture_once_and_goes_on_the_report():
    app = opened(PAGE, step="Groups")
    app.segmented_control(key="step").set_value("Plan").run()
    rows, dataset = shipped_rows(), open_dataset("world:planted")
    known = dataset.attributes(rows["path"])
    result = groups(rows, known, np.stack(rows["embedding"].to_list()))
    inside = {place for members in result.members[: len(result.confirmed)] for place in members}
    assert f"for {len(inside):,} pictures, each counted once" in text(app).replace("*", "")
    (toggle,) = [box for box in app.toggle if box.label == "On the report"]
    toggle.set_value(True).run()
    app.switch_page("pages/10_Report.py").run()
    assert "## Plans" in text(app) and result.confirmed["group"].iloc[0] in text(app).replace("\\", "")
    assert not app.exception and not app.error


def test_the_drawer_leads_back_to_this_page():
    """Two pages share the drawer: its links return to the page that it was opened on."""
    path = shipped_rows()["path"].iloc[0]
    for page, title in ((PAGE, "Failure analysis"), ("pages/6_Misclassifications.py", "Misclassifications")):
        links = [link.proto for link in opened(page, sample=path).get("page_link") if "Single image" in link.proto.label]
        assert len(links) == 1 and f"back={title.replace(' ', '+')}%3F" in links[0].query_string


def test_the_groups_offered_to_a_step_have_the_pictures_of_raw_rows():
    rows, dataset = shipped_rows(), open_dataset("world:planted")
    known = dataset.attributes(rows["path"])
    result = groups(rows, known, np.stack(rows["embedding"].to_list()))
    wrong = (rows["true"] != rows["predicted"]).to_numpy()
    choices = {group.title: group for group in offered(rows, result)}
    assert next(iter(choices)) == result.confirmed["group"].iloc[0]
    assert choices["all errors"].errors == len(choices["all errors"].members) == wrong.sum()
    for group in choices.values():
        assert group.errors == wrong[group.members].sum()
        assert not wrong[group.members][group.errors :].any()  # errors first
    (pair, count) = max(rows[wrong].groupby(["true", "predicted"]).size().items(), key=lambda item: item[1])
    assert choices[f"{pair[0]} predicted as {pair[1]}"].errors == count


def test_a_perfect_model_has_no_group_to_offer():
    rows = shipped_rows()
    rows = rows.assign(predicted=rows["true"])
    assert offered(rows, groups(rows, None, None)) == []


STEPS_OF_ERRORS = (
    {"step": "Groups"}, {"step": "Causes"}, {"step": "Causes", "causes": "What-ifs"},
    {"step": "Causes", "causes": "Evidence"}, {"step": "What to do"}, {"step": "What to do", "what to do": "Abstain"},
)  # fmt: skip


def test_every_step_says_that_a_perfect_model_has_no_errors(monkeypatch):
    table = predictions.table
    perfect = lambda *args, **more: (rows := table(*args, **more)).assign(predicted=rows["true"])  # noqa: E731
    monkeypatch.setattr(predictions, "table", perfect)
    cache.clear()
    for query in STEPS_OF_ERRORS:
        app = opened(PAGE, **query)
        assert any("All pictures are predicted correctly" in box.value for box in app.info) and not app.error, query
        assert app.button(key="next step").label.startswith("Next: ")
    cache.clear()


def test_the_next_buttons_lead_through_all_steps_to_the_plan():
    app = opened(PAGE)
    steps = app.segmented_control(key="step").options
    shown = [app.segmented_control(key="step").value]
    while "next step" in [button.key for button in app.button]:
        app.button(key="next step").click().run()
        shown.append(app.segmented_control(key="step").value)
    assert shown == steps
    assert shown[0] == "Labels" and shown[-1] == "Plan" and not app.exception
    for job in jobs.listed():  # each step has started its work
        job.cancelling = True
    jobs.wait()


def test_misclassifications_leads_here_with_the_same_pictures_and_model():
    app = opened("pages/6_Misclassifications.py", dataset="world:clean", which="Wrong")
    (link,) = [link.proto for link in app.get("page_link") if link.proto.label == "Why are these wrong?"]
    settings = parse_qs(parse_qs(link.query_string)["open"][0])
    assert settings == {"dataset": ["world:clean"]}  # filters stay behind; a part that has its default is not in addresses


def test_a_picture_of_an_audits_report_opens_here():
    """The report's links carry the dataset, the model and the picture."""
    rows = shipped_rows().tail(5).reset_index(drop=True)
    audited = AuditedPredictions(load_model("world_planted"), open_dataset("world:planted"), rows)
    section = Section("Labels", (), {}, (PictureList("One", (rows["path"][2],)),))
    links = audit_document.Links("http://localhost:8501", "world:planted")
    ((picture, _),) = audit_document.pictures_of(audited, [section], "grad_cam", links).values()
    query = {name: values[0] for name, values in parse_qs(urlsplit(picture.link).query).items()}
    app = opened(PAGE, **query)
    assert {"previous", "next"} <= {button.key for button in app.button}  # the drawer is open
    assert app.query_params["sample"] == rows["path"][2]
    assert app.selectbox(key="model").value == "world_planted" and not app.exception


def test_the_view_abstain_has_the_held_out_figures_of_raw_rows():
    rows = shipped_rows()
    right = (rows["true"] == rows["predicted"]).to_numpy()
    app = opened(PAGE, step="What to do", **{"what to do": "Abstain", "wanted": "4.0"})
    order = np.random.default_rng(0).permutation(len(rows))
    first, second = order[: len(rows) // 2], order[len(rows) // 2 :]
    confidence = rows["confidence"].to_numpy()
    reached = [t for t in confidence[first] if (~right[first])[confidence[first] >= t].mean() <= 0.04]
    answered = second[confidence[second] >= min(reached)]
    words = text(app).replace("*", "")
    assert f"{len(answered):,} of {len(second):,} held-out pictures are answered" in words
    assert f"{(~right[answered]).mean():.1%} of the answers are wrong" in words
    assert f"{(confidence < min(reached)).sum():,} of all {len(rows):,} pictures are below it" in words
    table = next(frame.value for frame in app.dataframe if "risk without" in frame.value)
    true = rows["true"].to_numpy()
    for _, row in table.iloc[1:].iterrows():
        of = answered[true[answered] == row["group"]]
        assert (row["answered"], row["wrong"]) == (len(of), (~right[of]).sum())
    assert not app.exception and not app.error


def test_the_view_edit_the_head_says_that_no_edit_helps():
    rows, dataset, model = shipped_rows(), open_dataset("world:planted"), load_model("world_planted")
    known = dataset.attributes(rows["path"])
    group = offered(rows, groups(rows, known, np.stack(rows["embedding"].to_list())))[0]
    result = repair_group(model, dataset, rows, group.members)
    app = opened(PAGE, step="What to do")
    (figures,) = re.findall(r"mends \d+ and breaks \d+", result.reason)
    assert "No edit helps." in text(app) and figures in text(app)
    assert "save edited" not in [button.key for button in app.button] and not app.exception and not app.error


def test_the_view_edit_the_head_has_the_held_out_figures_of_the_saved_model(tmp_path, monkeypatch):
    """Some edit of the head: its table is computed again from raw rows and the weights in the saved file."""
    monkeypatch.setenv("XAI_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XAI_MODEL_UPLOADS", "1")
    rows, head = shipped_rows(), head_of(load_model("world_planted"))
    features, true = np.stack(rows["embedding"].to_list()), rows["true_index"].to_numpy()
    order = np.random.default_rng(0).permutation(len(rows))
    first, second = np.sort(order[: len(rows) // 2]), np.sort(order[len(rows) // 2 :])
    after = Head(head.weight + np.random.default_rng(1).normal(0, 0.1, head.weight.shape), head.bias)
    classes = load_model("world_planted").class_names
    compared = compare_heads(head, after, features[second], true[second], classes)
    edit = Repair(after, True, compared.table, 0.1, 0.5, 9, first, second, 0, compared.reason)
    places = first[:5]
    found = GroupRepair(edit, places, (), second[:2], second[2:3], edit.reason, {})
    monkeypatch.setattr(repair_view, "repair_group", lambda *_, **__: found)
    app = opened(PAGE, step="What to do", **{"repair share": "11"})
    (cause,) = [field for field in app.text_input if field.label == "What the head no longer reads"]
    cause.set_value("the stamp").run()
    app.button(key="save edited").click().run()
    assert "world_planted_without_the_stamp" in cards() and "Open 2 mended" in [button.label for button in app.button]
    saved = safetensors.numpy.load_file(tmp_path / "world_planted_without_the_stamp.safetensors")
    right = (features[second] @ saved["weight"].T + saved["bias"]).argmax(1) == true[second]
    table = next(frame.value for frame in app.dataframe if "accuracy after" in frame.value).set_index("class")
    for name in ("all", *classes):
        of = right if name == "all" else right[rows["true"].to_numpy()[second] == name]
        assert (table.loc[name, "right after"], table.loc[name, "pictures"]) == (of.sum(), len(of))
    app.button(key="remove world_planted_without_the_stamp").click().run()
    assert not list(tmp_path.iterdir()) and not app.exception and not app.error


def test_a_group_is_shown_with_its_figures_and_its_central_errors():
    app = opened(PAGE, step="Groups")
    rows, dataset = shipped_rows(), open_dataset("world:planted")
    known = dataset.attributes(rows["path"])
    result = groups(rows, known, np.stack(rows["embedding"].to_list()))
    app.selectbox(key="group").set_value(result.table["group"][1]).run()
    row, members = result.table.iloc[1], result.members[1]
    inside, wrong = np.isin(np.arange(len(rows)), members), (rows["true"] != rows["predicted"]).to_numpy()
    tested, errors = (inside & result.held_out).sum(), (inside & result.held_out & wrong).sum()
    assert f"{errors} of {tested} are wrong ({errors / tested:.0%}" in text(app)
    held, confidence = result.held_out, rows["confidence"].to_numpy()
    ranges = pd.qcut(confidence[held], 10, labels=False)
    outside = {number: wrong[held][~inside[held] & (ranges == number)].mean() for number in range(10)}
    expected = np.mean([outside[number] for number in ranges[inside[held]]])
    assert f"of which the model is as sure, {expected:.0%} are" in text(app)
    shown = [button.key.removeprefix("open ") for button in app.button if (button.key or "").startswith("open ")]
    assert shown == rows["path"].iloc[members[wrong[members]][:8]].tolist()
    assert f"most central of its {row['errors']} errors" in text(app) and not app.exception
    features = np.stack(rows["embedding"].to_list()).astype(float)
    sizes = np.linalg.svd(features - features.mean(0), compute_uv=False) ** 2
    assert f"hold {sizes[:2].sum() / sizes.sum():.0%} of their variance" in text(app)


def plan_of_groups():
    """The plan that the audit would write of the first two confirmed groups and of the labels."""
    rows, dataset, model = shipped_rows(), open_dataset("world:planted"), load_model("world_planted")
    result = groups(rows, dataset.attributes(rows["path"]), np.stack(rows["embedding"].to_list()))
    found = [replace(action, step="Groups") for action in actions(result, rows["path"].tolist())]
    flagged = relabel_action(rows, triage(np.stack(rows["embedding"].to_list()), rows["true"].to_list()), 0)
    plan = Plan(
        "What to do", dataset.title, dataset.digest, model.title, model.fingerprint,
        (replace(flagged, step="Labels"), *found), {}, ("Evidence",),
    )  # fmt: skip
    return plan, rows


def test_a_plan_is_opened_again_and_goes_into_a_round():
    plan, rows = plan_of_groups()
    app = opened(PAGE, step="Plan")
    assert any("Or open a plan" in box.value for box in app.info)
    app.file_uploader(key="plan file").set_value(("plan.json", plan.to_json(), "application/json")).run()
    count = len(plan.actions)
    assert [box.value for box in app.checkbox] == [True] * count
    assert f"{count} actions opened, 0 of which were found here already." in app.success[0].value
    words = text(app).replace("*", "").replace("\\", "")
    assert f"{count} actions in the plan, for {len(plan.paths):,} pictures" in words
    assert "opened from plan.json" in words and "no actions of: Evidence." in words
    app.checkbox[0].uncheck().run()
    assert f"{count - 1} actions in the plan" in text(app).replace("*", "")
    (button,) = [one for one in app.button if one.label == "Send to a review round"]
    button.click().run()
    wanted = app.session_state["pictures of a round"]
    assert set(wanted.paths) == {path for action in plan.actions[1:] for path in action.paths} <= set(rows["path"])
    assert not app.exception and not app.error


def test_an_opened_plan_is_merged_with_what_was_found():
    """The same action is there once, with the figures of the page; what was taken out and is in the file is in again."""
    plan, _ = plan_of_groups()
    older = replace(plan, actions=tuple(replace(action, reason="Older figures.") for action in plan.actions))
    app = opened(PAGE, step="Groups")
    titles = [box.label for box in app.checkbox]
    app.checkbox[0].uncheck().run()
    app.segmented_control(key="step").set_value("Plan").run()
    app.file_uploader(key="plan file").set_value(("older.json", older.to_json(), "application/json")).run()
    assert f"{len(titles)} of which were found here already" in app.success[0].value
    assert [box.label for box in app.checkbox[1:]] == titles and all(box.value for box in app.checkbox)
    assert text(app).count("Older figures.") == 1  # of the labels, which were not looked at here
    app.segmented_control(key="step").set_value("Labels").run()
    app.segmented_control(key="step").set_value("Plan").run()
    assert "Older figures." not in text(app) and len(app.checkbox) == len(plan.actions)


def test_a_plan_of_other_pictures_or_weights_is_taken_only_when_asked_for():
    plan, _ = plan_of_groups()
    lost = replace(plan.actions[0], about="lost", paths=("no/such.png",), columns={})
    other = replace(plan, fingerprint="abc", dataset_digest="def", actions=(*plan.actions, lost))
    app = opened(PAGE, step="Plan")
    app.file_uploader(key="plan file").set_value(("other.json", other.to_json(), "application/json")).run()
    words = app.warning[0].value.replace("\\", "")
    assert "weights abc" in words and "digest def" in words and "Nothing is taken yet" in words and not app.checkbox
    app.button(key="take other plan").click().run()
    assert len(app.checkbox) == len(plan.actions) and "made for the model" in text(app)
    words = app.success[0].value.replace("\\", "")
    assert f"1 of its {len(plan.paths) + 1} pictures are not among these predictions" in words
    assert f"1 of its {len(other.actions)} actions had no other pictures" in words


@pytest.mark.parametrize("content", [b"not JSON", b"{}"])
def test_a_file_that_is_no_plan_is_refused_and_nothing_is_lost(content):
    app = opened(PAGE, step="Groups")
    count = len(app.checkbox)
    app.segmented_control(key="step").set_value("Plan").run()
    app.file_uploader(key="plan file").set_value(("bad.json", content, "application/json")).run()
    assert "This is not a plan" in app.error[0].value and len(app.checkbox) == count
    app.file_uploader(key="plan file").set_value(None).run()
    assert not app.error and len(app.checkbox) == count
