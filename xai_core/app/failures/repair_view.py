"""The view *Edit the head*: the head reads a group's cause anew; what that mends and breaks on the held-out half."""

import io
import zipfile

import pandas as pd
import streamlit as st
from PIL import Image
from torch import Tensor

from xai_core.app.failures import group_choice, plan_entries
from xai_core.app.failures.group_choice import PictureGroup
from xai_core.app.shared import cache, display, drawer, jobs, loaded_models, network_outputs
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.opened_datasets import is_upload
from xai_core.app.shared.page_work import Part, counted, stored
from xai_core.app.shared.predictions import subject
from xai_core.app.shared.tested_groups import SEED
from xai_core.app.shared.widgets import LINK, quick_methods
from xai_core.attribution.catalog import METHODS
from xai_core.core import markdown, settings
from xai_core.core.errors import BadRequest, XaiError
from xai_core.core.runtime import Track
from xai_core.data.datasets import Dataset
from xai_core.explanation import rendering
from xai_core.failures import head_repair
from xai_core.failures.group_repair import HIDING, METHOD, SHARE, GroupRepair, head_of, pairs_looked_at, repair_group
from xai_core.failures.hiding import HIDINGS
from xai_core.models import edited_heads
from xai_core.models.explainable import ExplainableModel
from xai_core.models.zoo.catalog import cards

VIEW = "Edit the head"  # its name among the views of the page
SIDE = 130  # pixels of a shown picture
HOW = (
    "The predictions are halved at random (seed {seed}). In the first half, maps of {pairs} errors of the group suggest a "
    "region, and the region is hidden: what the features lose is the direction of the cause. The classes that are answered "
    "more often with it get a new weight of this direction, fitted to the labels of the first half; how far it may move is "
    "chosen by cross-validation there. All other weights stay. If the edit does not mend more than it breaks there "
    "(one-sided McNemar test, p < 0.05), no edit is made. The table is of the other half, with paired 95% intervals."
)


def show(rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> None:
    """The repair for the chosen group, its figures, and the buttons that keep it."""
    group = group_choice.choose(rows, dataset, model)
    if group is None:
        return
    try:
        head_of(model)
    except BadRequest as error:
        st.info(error_text(f"{error} Choose a model whose last layer is linear."))
        return
    method, share, hiding = _settings(model)
    key = f"repair {group.title} {subject(model, dataset)} {method} {METHODS[method].version} {share:g} {hiding} {SEED}"

    def compute(track: Track) -> None:
        result = repair_group(
            model, dataset, rows, group.members, method=method, share=share, hiding=hiding, seed=SEED, track=track
        )
        cache.put(key, result)

    count = len(pairs_looked_at(rows, group.members, SEED))
    part = Part("Repair", network_outputs.pass_seconds(model, 6 * count), compute)
    title = f"Edit of the head for {counted(count, 'error')} of {dataset.title}"
    found: GroupRepair | None = stored(key, [part], title, "Find an edit", private=is_upload(dataset))
    if found is None:
        return
    _result(rows, dataset, model, group, found)
    _kept(model)


def _settings(model: ExplainableModel) -> tuple[str, float, str]:
    quick = quick_methods(model)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        method = st.selectbox(
            "Method of the maps", quick, quick.index(METHOD) if METHOD in quick else 0,
            format_func=lambda id: METHODS[id].title, key="repair by", width=220, **LINK,
        )  # fmt: skip
        percent = st.slider("Region, % of the picture", 2, 50, round(100 * SHARE), key="repair share", width=220, **LINK)
        hiding = st.selectbox("Hidden by", HIDINGS, HIDINGS.index(HIDING), key="repair hiding", width=160, **LINK)
    return method, percent / 100, hiding


def _result(rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel, group: PictureGroup, result: GroupRepair) -> None:
    of = subject(model, dataset)
    display.finding(result.reason, bold=True)
    if result.examples:
        with st.container(horizontal=True):
            for number, (whole, hidden) in enumerate(result.examples, 1):
                for image, words in ((whole, "as it is"), (hidden, "region hidden")):
                    with st.container(width=SIDE):
                        display.picture(_picture(image), f"Error {number} of the group, {words}", width="stretch")
                        st.caption(words)
    repaired = result.repair
    if repaired is None or not repaired.helps:
        plan_entries.offer(of, VIEW, [], group.title)
        return
    percent = ("accuracy before", "accuracy after", "change", "low", "high")
    display.table(
        repaired.table, "Accuracy of each class before and after the edit", hide_index=True,
        key="repaired classes", width="content",
        column_config={name: st.column_config.NumberColumn(format="percent") for name in percent},
    )  # fmt: skip
    with st.expander("How the edit is chosen and measured"):
        st.markdown(HOW.format(seed=SEED, pairs=repaired.pairs))
    parts = (("mended", result.mended), ("broken", result.broken))
    groups = [drawer.group_of(f"Held-out pictures {words} by the edit", rows.iloc[places]) for words, places in parts]
    drawer.offer([one for one in groups if one.paths])
    with st.container(horizontal=True):
        for (words, places), one in zip(parts, groups, strict=True):
            st.button(
                f"Open {len(places):,} {words}", key=f"open {words}", icon=":material/photo_library:",
                disabled=not len(places), on_click=drawer.open_group, args=(one,),
            )  # fmt: skip
    cause = st.text_input(
        "What the head no longer reads", group.title, max_chars=edited_heads.LONGEST_CAUSE, key=f"cause {group.title}",
        help="The name of the new model is made of it: 'MODEL without ...'.", width=520,
    )  # fmt: skip
    _save(model, repaired, cause)
    paths = tuple(rows["path"].iloc[result.places])
    words = cause or group.title
    plan_entries.offer(of, VIEW, head_repair.actions(repaired, words, paths, group.title), group.title)


def _picture(image: Tensor) -> bytes:
    array = (255 * image.permute(1, 2, 0)).round().byte().numpy()
    return rendering.encoded(Image.fromarray(array))


def _save(model: ExplainableModel, repaired: head_repair.Repair, cause: str) -> None:
    """The button that writes the new model where this visitor may; else its files to download."""
    head, weights = repaired.head, loaded_models.checkpoint_of(model)
    may_write = jobs.is_own_computer() or settings.MODEL_UPLOADS.value()
    if may_write and st.button("Save as a model card beside the old one", key="save edited", icon=":material/save:"):
        try:
            id = edited_heads.save(model, head.weight, head.bias, cause, weights=weights, remark=repaired.reason)
            st.success(f"The model **{markdown.escape(cards()[id].title)}** can be chosen on every page.")
        except XaiError as error:
            st.error(error_text(error))
    if not may_write:

        def packed() -> bytes:
            files = edited_heads.files(model, head.weight, head.bias, cause, weights=weights, remark=repaired.reason)
            written = io.BytesIO()
            with zipfile.ZipFile(written, "w") as archive:
                for name, data in files.items():
                    archive.writestr(name, data)
            return written.getvalue()

        display.downloads({"The edited model as a card": ("edited model.zip", "application/zip", packed)})
        st.caption("Put both files of the ZIP into the folder `weights/`: the model is then listed beside the old one.")


def _kept(model: ExplainableModel) -> None:
    """The edited heads that are in the weights folder, each with a button that removes it."""
    if not (jobs.is_own_computer() or settings.MODEL_UPLOADS.value()):
        return
    kept = {id: card for id, card in cards().items() if model.id in (id, card.base) and edited_heads.is_edited(card)}
    for id, card in kept.items():
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"{markdown.escape(card.title)}: {markdown.escape(card.remark)}", width="stretch")
            st.button(
                "Remove", key=f"remove {id}", icon=":material/delete:", on_click=_remove, args=(id,),
                help=f"Removes {id} from the weights folder.", disabled=id == model.id,
            )  # fmt: skip


def _remove(id: str) -> None:
    try:
        edited_heads.remove(id)
        st.toast("The edited model was removed.")
    except XaiError as error:
        st.toast(error_text(error))
