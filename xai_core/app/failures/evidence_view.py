"""The step *Causes*, view *Evidence*: which training pictures and features carry wrong answers, and unusual reasoning."""

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from xai_core.app.failures import group_choice, plan_entries
from xai_core.app.failures.group_choice import PictureGroup
from xai_core.app.shared import cache, display, drawer, predictions, session
from xai_core.app.shared.opened_datasets import SAMPLES, is_upload, open_named
from xai_core.app.shared.page_work import Part, counted, stored
from xai_core.app.shared.predictions import alt_text, subject
from xai_core.app.shared.widgets import LINK
from xai_core.core import markdown
from xai_core.core.runtime import Track
from xai_core.core.settings import PROGRAM
from xai_core.core.spreadsheet import csv_bytes
from xai_core.data.datasets import WORLD, Dataset, offered, training_part, training_split
from xai_core.data.label_matching import first_name
from xai_core.failures import group_evidence as evidence
from xai_core.failures.class_features import UNUSUAL, UnusualReasoning, carrying_features, most_activating, unusual_reasoning
from xai_core.failures.group_evidence import GroupEvidence, linear_head
from xai_core.failures.head_edits import Head
from xai_core.failures.label_triage import triage
from xai_core.failures.training_evidence import DRAWS, FEWEST, MEASURES
from xai_core.models.explainable import ExplainableModel

VIEW = "Evidence"  # its name among the views of the page
SEED = 0
NONE = "(none chosen)"
MULTIPLIED = 1.5e7 / 20  # training pictures x features x classes in a second of evidence
JUDGED = 500  # training labels in a second
LOGITS = ("margin", "fall without them", "fall without random ones", "difference", "low", "high")
NUMBER, SMALL = st.column_config.NumberColumn(format="%.3f"), st.column_config.NumberColumn(format="%.2g")
ACTIVATING, UNUSUAL_SHOWN, PER_FEATURE = 24, 24, 5
TITLES = {
    "influence": "Influence", "representer": "Representer points", "TracIn": "TracIn of the last layer",
    "similarity": "Similarity",
}  # fmt: skip
ABOUT = {
    "influence": "By how much the margin of the wrong answer over the true class falls without the picture, to first order.",
    "representer": "The picture's share in the margin: the shares of all training pictures add up to it (Yeh et al. 2018).",
    "TracIn": "How much a step of training on the picture lowers the loss of the wrong answer (Pruthi et al. 2020).",
    "similarity": "The cosine of the features: the nearest training pictures.",
}
HOW = (
    "A linear probe is fitted on the model's features of the training pictures and their labels; everything here is about "
    "that last layer, and what a training picture did to the layers below is not seen. One half of the group's errors "
    "suggests the strongest pictures; the probe is then fitted without them, and without as many random ones with the same "
    "labels ({draws} draws), and the margin of the wrong answer is measured on the other half (seed {seed}). The interval "
    "is of the bootstrap over these pictures, paired (95%); p is of the sign-flip test, corrected for the four measures "
    "(Holm). With fewer than {fewest} errors nothing is left to test on. TracIn is of {checkpoint}."
)


def show(rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> None:
    """What the errors of the chosen group come from: training pictures, features, unusual reasoning."""
    group = group_choice.choose(rows, dataset, model)
    if group is None:
        return
    part = st.segmented_control(
        "Part", list(PARTS), default=TRAINING, required=True, key="evidence", label_visibility="collapsed", **LINK
    )
    PARTS[part](group, rows, dataset, model)


def _training(group: PictureGroup, rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> None:
    """The training pictures that speak most for the wrong answers, and the refit that proves it."""
    title = _training_title(dataset)
    if title == NONE:
        st.info(MISSING.format(program=PROGRAM))
        return
    training = open_named(title)
    known = predictions.table(model, training, second=True)
    if known is None:
        return
    result = _computed(group, known, rows, training, dataset, model)
    if result is None:
        return
    found = result.evidence
    measure = str(
        st.segmented_control(
            "Training pictures by", MEASURES, default=MEASURES[0], format_func=TITLES.__getitem__, required=True,
            key="evidence by", **LINK,
        )
    )  # fmt: skip
    st.caption(ABOUT[measure])
    for reason in found.reasons:
        st.info(reason)
    refit = found.refits.get(measure)
    if refit is not None:
        display.finding(refit.sentence, bold=True)
    st.caption(
        f"Of the {counted(len(result.errors), 'error')} of the group, the probe gives the network's wrong answer to "
        f"{found.agreement:.0%}: its evidence speaks for the network as far as that."
    )
    side = st.segmented_control(
        "Side", ["For the answer", "Against it"], default="For the answer", required=True, key="evidence side",
        label_visibility="collapsed", disabled=measure == "similarity", **LINK,
    )  # fmt: skip
    against = side == "Against it" and measure != "similarity"
    if refit is not None and not against:
        places, values = refit.removed, refit.values
    else:
        shown = found.strongest(measure, evidence.COUNT, against=against)
        places, values = shown["picture"].to_numpy(), shown[measure].to_numpy()
    if not len(places):
        st.info("No training picture speaks for this side.")
    _gallery(result.training.iloc[places], values, training)
    if found.refits:
        table = evidence.proofs(result)
        table["measure"] = table["measure"].map(TITLES)
        display.table(
            table,
            "Proofs by training anew",
            hide_index=True,
            column_config={**dict.fromkeys(LOGITS, NUMBER), "p corrected": SMALL},
        )
    with st.expander("How evidence is found and tested"):
        checkpoint = "the network's own last layer, as it is at the end of training"
        probe = "the probe: the network has no linear layer that reads these features"
        own = linear_head(model, known) is not None
        st.markdown(HOW.format(draws=DRAWS, seed=SEED, fewest=FEWEST, checkpoint=checkpoint if own else probe))
    wrong = result.contradicted()
    if len(wrong):
        listed = result.training.iloc[wrong][["path", "label", "suggested"]].rename(columns={"suggested": "suggested label"})
        display.downloads(
            {f"Labels to check ({len(wrong)})": ("training_labels.csv", "text/csv", lambda: csv_bytes(listed))}
        )
    planned = evidence.actions(result, group.title, rows, training.title)
    plan_entries.offer(subject(model, dataset), VIEW, planned, group.title)


MISSING = (
    "Choose the pictures that the network was trained on, or others with labels that it knows. Folders, ZIPs and tables in "
    "`data/` are listed, and their features are computed here; on the command line `{program} classify` computes them with "
    "`--embeddings`."
)


def _training_title(dataset: Dataset) -> str:
    """The training pictures that the visitor chooses. Those of a world are known; at first those of the same dataset."""
    own, shown = training_split(dataset.title), str(st.session_state.get("dataset"))
    others = [name for name in offered() if not name.startswith(WORLD) and name != shown]
    choices = [*([own] if own else [NONE]), *others, *([SAMPLES] if shown != SAMPLES else [])]
    session.keep_among("training", choices, training_part(shown, others) or choices[0])
    return st.selectbox("Training pictures", choices, key="training", width=520, **LINK)


def _computed(
    group: PictureGroup,
    known: pd.DataFrame,
    rows: pd.DataFrame,
    training: Dataset,
    dataset: Dataset,
    model: ExplainableModel,
) -> GroupEvidence | None:
    """The evidence, computed once; None while it is not."""
    judged = f"label triage {subject(model, training)} {SEED}"  # as in the step Labels
    key = f"evidence {group.title} {subject(model, dataset)} {subject(model, training)} {SEED}"

    def judge(track: Track) -> None:
        cache.put(judged, triage(np.stack(known["embedding"].to_list()), known["true"].to_list(), seed=SEED))

    def compute(track: Track) -> None:
        head = linear_head(model, known)
        result = evidence.group_evidence(
            known, rows, group.members, cache.get(judged), head=head, head_classes=model.class_names, seed=SEED, track=track
        )
        cache.put(key, result)

    size = len(known) * len(known["embedding"].iloc[0]) * known["true"].nunique()
    parts = [Part("Evidence", size / MULTIPLIED, compute)]
    if cache.get(judged) is None:
        parts.insert(0, Part("Judging the training labels", len(known) / JUDGED, judge))
    title = f"Evidence for {group.title} of {dataset.title}"
    private = is_upload(dataset) or is_upload(training)
    result: GroupEvidence | None = stored(key, parts, title, "Find evidence", private=private)
    return result


def _gallery(pictures: pd.DataFrame, values: NDArray[np.float64], training: Dataset) -> None:
    """The training pictures with their labels; a label that is contradicted is marked."""
    with st.container(horizontal=True, gap="small"):
        for row, value in zip(pictures.to_dict("records"), values, strict=True):
            with st.container(border=True, width=display.THUMBNAIL + 34):
                label = first_name(row["label"])
                display.thumbnail(training, row["path"], f"Training picture {row['path']}, labelled {label}")
                words = f"{markdown.escape(label)}  \n{value:+.3f}"
                if row["contradicted"]:
                    words += f"  \n:orange[looks wrong: {markdown.escape(first_name(row['suggested']))}?]"
                st.markdown(words)


def _features(group: PictureGroup, rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> None:
    """The features that carry the wrong answers, and the pictures in which each is largest."""
    head = _head(rows, model)
    if head is None:
        return
    features = np.stack(rows["embedding"].to_list())
    true, predicted = rows["true_index"].to_numpy(), rows["predicted_index"].to_numpy()
    result = carrying_features(head, features, true, predicted, group.members, seed=SEED)
    if not len(result.table):
        st.info(result.sentence)
        return
    display.finding(result.sentence, bold=True)
    groups = [
        drawer.group_of(f"Feature {feature}: largest first", rows.iloc[most_activating(features, feature, ACTIVATING)])
        for feature in result.table["feature"]
    ]
    drawer.offer(groups)
    shown = result.table.assign(carries=np.where(result.table["carries"], "yes", "not shown")).drop(columns="p")
    numbers = dict.fromkeys(("errors", "right", "difference", "low", "high"), NUMBER)
    drawer.table(
        shown, "carrying features", lambda row: (groups[row], None),
        columns=numbers | {"share": st.column_config.NumberColumn(format="percent"), "p corrected": SMALL},
        alt="Features that carry the errors of the group",
    )  # fmt: skip
    st.caption(FEATURES)
    for one, line in zip(groups, result.table.to_dict("records"), strict=True):
        st.markdown(f"Feature {line['feature']} speaks for {line['speaks for']}; it is largest in:")
        with st.container(horizontal=True, gap="small"):
            for row in rows.set_index("path", drop=False).loc[list(one.paths[:PER_FEATURE])].to_dict("records"):
                _tile(row, dataset, one, first_name(str(row["true"])))


FEATURES = (
    "*Errors* and *right*: what the feature adds on average to the margin of the wrong answer over the true class, in the "
    "errors of the group and in right pictures of the same classes (logits). A feature that speaks for the true class "
    "carries an error by being absent. The features were chosen on one half of the pictures; figures are of the other half."
)


def _unusual(group: PictureGroup, rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> None:
    """The errors of the group that reason unusually, beside the prototypes of their answers."""
    head = _head(rows, model)
    if head is None:
        return
    key = f"unusual reasoning {subject(model, dataset)} {SEED}"

    def compute(track: Track) -> None:
        features = np.stack(rows["embedding"].to_list())
        true, predicted = rows["true_index"].to_numpy(), rows["predicted_index"].to_numpy()
        cache.put(key, unusual_reasoning(head, features, true, predicted, seed=SEED))

    part = Part("Unusual reasoning", len(rows) / 1000, compute)
    title = f"Unusual reasoning of {dataset.title}"
    result: UnusualReasoning | None = stored(key, [part], title, "Find unusual ones", private=is_upload(dataset))
    if result is None:
        return
    for reason in result.reasons:
        st.info(reason)
    ranked = result.ranked
    if not len(ranked):
        return
    inside = ranked[ranked["picture"].isin(group.members) & ranked["wrong"]]
    strange = inside[inside["p"] <= UNUSUAL]
    display.verdict(
        f"**{len(strange)} of {counted(len(inside), 'error')} of this group reason unusually**: what the features add to "
        f"their answer is as improbable as in {UNUSUAL:.0%} of the right pictures with the same answer, or fewer. In the "
        f"whole dataset: {result.sentence}"
    )
    if len(strange):
        first = rows.iloc[strange["picture"].to_numpy()]
        listed = drawer.group_of(f"{group.title}: unusual reasoning", first)
        drawer.offer([listed])
        table = pd.DataFrame(
            {"path": first["path"].to_numpy(), "true": first["true"].to_numpy(), "predicted": first["predicted"].to_numpy(),
             "p": strange["p"].to_numpy(), "log likelihood": strange["log likelihood"].to_numpy()}
        )  # fmt: skip
        drawer.table(
            table, "unusual errors", lambda row: (listed, listed.paths[row]),
            columns={"p": st.column_config.NumberColumn(format="%.3f"),
                     "log likelihood": st.column_config.NumberColumn(format="%.1f")},
            alt="Errors of the group with unusual features",
        )  # fmt: skip
        with st.container(horizontal=True, gap="small"):
            for row in first.head(UNUSUAL_SHOWN).to_dict("records"):
                words = f"{first_name(str(row['true']))} predicted as {first_name(str(row['predicted']))}"
                _tile(row, dataset, listed, words)
    answers = rows["predicted_index"].to_numpy()[inside["picture"].to_numpy()]
    prototypes = result.prototypes[result.prototypes["class"].isin(answers)]
    if len(prototypes):
        usual = drawer.group_of(f"{group.title}: prototypes of the answers", rows.iloc[prototypes["picture"].to_numpy()])
        drawer.offer([usual])
        st.markdown("The usual way to each of these answers, as a picture (one for each component of the mixture):")
        with st.container(horizontal=True, gap="small"):
            for row, share in zip(
                rows.iloc[prototypes["picture"].to_numpy()].to_dict("records"), prototypes["share"], strict=True
            ):
                words = first_name(str(row["predicted"])) + (f": {share:.0%} of its right pictures" if share < 1 else "")
                _tile(row, dataset, usual, words)
    st.caption(HOW_UNUSUAL.format(seed=SEED))


HOW_UNUSUAL = (
    "After PCX (Dreyer et al. 2024): a mixture of Gaussians describes what the features add to an answer in its right "
    "pictures, on one half of the pictures, and scores the other half (seed {seed}). p is the share of the right pictures "
    "with the same answer that are as improbable or more; unusual is a reason to look, not a cause."
)
TRAINING = "Training pictures"
PARTS = {TRAINING: _training, "Features": _features, "Unusual reasoning": _unusual}


def _head(rows: pd.DataFrame, model: ExplainableModel) -> Head | None:
    """The model's linear head; None, with a sentence, where it has none on these features."""
    head = linear_head(model, rows)
    if head is None:
        st.info(
            "This network's answer is no sum over the features that its predictions hold: its last layer is not linear, or "
            "reads other features. Choose another model to see which features carry its answers."
        )
    return head


def _tile(row: Mapping[Hashable, Any], dataset: Dataset, group: drawer.Group, words: str) -> None:
    """A picture that opens in the drawer."""
    path = str(row["path"])
    with st.container(border=True, width=display.THUMBNAIL + 34):
        display.thumbnail(dataset, path, alt_text(row))
        st.markdown(markdown.escape(words))
        display.open_button(path, f"open {group.title} {path}", drawer.open_group, (group, path))
