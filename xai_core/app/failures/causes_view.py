"""The step *Causes*, view *Hidden region*: whether what the maps of some errors share causes the other errors."""

import numpy as np
import pandas as pd
import streamlit as st
import torch
from PIL import Image
from torch import Tensor

from xai_core.app.charts import causes as charts
from xai_core.app.failures import group_choice, plan_entries
from xai_core.app.failures.group_choice import PictureGroup
from xai_core.app.shared import cache, display, drawer, network_outputs
from xai_core.app.shared.opened_datasets import is_upload
from xai_core.app.shared.page_work import Part, counted, stored
from xai_core.app.shared.predictions import alt_text, subject
from xai_core.app.shared.tested_groups import SEED
from xai_core.app.shared.widgets import LINK, quick_methods
from xai_core.attribution.catalog import METHODS
from xai_core.attribution.estimates import method_passes
from xai_core.core import markdown
from xai_core.core.errors import BadPicture
from xai_core.core.options import check_options
from xai_core.core.runtime import Track
from xai_core.data.datasets import Dataset
from xai_core.explanation import rendering
from xai_core.failures import group_causes, group_pictures
from xai_core.failures.group_causes import ONE_PLACE, OWN, PLACES, SHARE, GroupCause, group_cause, usual_method
from xai_core.failures.hiding import HIDINGS
from xai_core.models.explainable import ExplainableModel

VIEW = "Hidden region"  # its name among the views of the page
CONTROLS = 5  # random regions of each picture
SHOWN = 4  # pictures with the region
SIDE = 300  # pixels of a picture with the region, twice as wide as it is shown
OUTLINE = (213, 94, 0)
HOW = (
    "Maps of {found} errors of the group, drawn at random (seed {seed}), suggest the region; it is hidden in {tested} other "
    "errors, in three ways, and so are {controls} random regions of the same shape and the rest of the picture. Maps "
    "explain the margin of the wrong answer over the true class. The interval of the region's count is Wilson's; that of "
    "random regions, whose count is a mean, and those of margins are of the bootstrap over pictures, paired where two are "
    "compared. p: the exact probability that the region mends as many errors or more, were it one of the regions of its "
    "picture at random. It is called a cause where p is below 0.05, divided by the number of ways, for every way. Right "
    "pictures are of the group, or where it has none, of the errors' true classes."
)
CLAIMS = {
    ONE_PLACE: "Tests whether what stands at one place, the same in all pictures, causes errors.",
    OWN: "Tests whether what each picture's own map marks causes its error, wherever it is: for causes that move. It does "
    "not say that the pictures share it.",
}  # fmt: skip


def show(rows: pd.DataFrame, dataset: Dataset, model: ExplainableModel) -> None:
    """The test of the chosen group, and the actions that follow from it."""
    group = group_choice.choose(rows, dataset, model)
    if group is None:
        return
    method, share, where = _settings(model)
    chosen = group_pictures.sample(rows, group.members, SEED)
    key = f"cause of {group.title} {subject(model, dataset)} {method} {METHODS[method].version} {share:g} {where} {SEED}"

    def compute(track: Track) -> None:
        read = group_pictures.read(chosen, dataset, model)
        cause = group_cause(
            model, read.pixels, read.classes, method=method, share=share, where=where, controls=CONTROLS, seed=SEED,
            track=track,
        )  # fmt: skip
        cache.put(key, (read.paths, cause))

    seconds = network_outputs.pass_seconds(model, _passes(model, method, chosen))
    title = f"Cause test of {counted(len(chosen), 'picture')} of {dataset.title}"
    found = stored(key, [Part("Cause test", seconds, compute)], title, "Test", private=is_upload(dataset))
    if found is None:
        return
    paths, cause = found
    for reason in cause.reasons:
        st.info(reason)
    if cause.test is None:
        plan_entries.offer(subject(model, dataset), VIEW, [], group.title)
        return
    _result(group, rows.set_index("path", drop=False).loc[list(paths)], cause, dataset, model)
    plan_entries.offer(subject(model, dataset), VIEW, group_causes.actions(cause, group.title, paths), group.title)


def _settings(model: ExplainableModel) -> tuple[str, float, str]:
    """The method of the maps, the region's share of the picture, and whether all pictures have the same region."""
    quick = quick_methods(model)
    usual = usual_method(model)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        method = st.selectbox(
            "Method of the maps", quick, quick.index(usual), format_func=lambda id: METHODS[id].title, key="cause by",
            width=220, **LINK,
        )  # fmt: skip
        percent = st.slider("Region, % of the picture", 2, 20, round(100 * SHARE), key="region share", width=220, **LINK)
        where = st.segmented_control(
            "Region", PLACES, default=ONE_PLACE, format_func=str.capitalize, required=True, key="region",
            help=" ".join(CLAIMS.values()), **LINK,
        )  # fmt: skip
    st.caption(CLAIMS[where])
    return method, percent / 100, where


def _passes(model: ExplainableModel, method: str, chosen: pd.DataFrame) -> float:
    """The passes that a test takes, with the time of inpainting counted as another pass for each way of hiding."""
    each = 1 + method_passes(method, check_options(METHODS[method].run, {}), model.recipe.input_size, model.family)
    return len(chosen) * (each + (2 + CONTROLS) * (len(HIDINGS) + 1))


def _result(group: PictureGroup, rows: pd.DataFrame, cause: GroupCause, dataset: Dataset, model: ExplainableModel) -> None:
    test = cause.test
    assert test is not None and cause.regions is not None and cause.mean_map is not None
    display.finding(f"{test.sentence} {cause.place}")
    tested = rows.iloc[cause.tested]
    wrong = (tested["true"] != tested["predicted"]).to_numpy(bool)
    mended = rows.iloc[cause.mended]
    groups = {
        "mended": drawer.group_of(f"{group.title}: mended by hiding the region", mended),
        "tested": drawer.group_of(f"{group.title}: errors tested", tested[wrong]),
    }
    drawer.offer(groups.values())
    _pictures(tested, cause, dataset, model)
    with st.container(horizontal=True):
        for name, words in (
            ("mended", f"Open the {counted(len(mended), 'mended error')}"),
            ("tested", "Open all tested errors"),
        ):
            st.button(
                words, key=f"open {name} of the region", icon=":material/photo_library:", disabled=not groups[name].paths,
                on_click=drawer.open_group, args=(groups[name],),
            )  # fmt: skip
    display.table(_table(cause), "What hiding the region does", hide_index=True)
    hiding = st.segmented_control(
        "Hidden by", HIDINGS, default=HIDINGS[0], format_func=str.capitalize, required=True, key="hidden by", **LINK
    )
    per_picture = test.pictures[(test.pictures["hiding"] == hiding) & test.pictures["wrong"]]
    points = per_picture.assign(
        path=tested["path"].to_numpy()[per_picture["picture"]], mended=np.where(per_picture["region"] > 0, "yes", "no")
    )
    verdict = test.verdicts.set_index("hiding").loc[hiding]
    key = drawer.chart_key("margins")

    def open_point() -> None:
        point = drawer.picked(key, "error")
        if point:
            drawer.open_group(groups["tested"], point["path"])

    display.chart(
        charts.margins(points[["path", "region margin", "random margin", "mended"]]), key=key, on_select=open_point,
        selection_mode="error",
        alt=f"Fall of the margin of {counted(len(points), 'error')}: the region against random regions.",
    )  # fmt: skip
    st.caption(
        f"Each point is a tested error; above the line the region does more than random ones. On average the margin falls "
        f"by {verdict['more margin']:.2f} more ({verdict['margin low']:.2f} to {verdict['margin high']:.2f}, 95%, paired)."
    )
    with st.expander("How the region is found and tested"):
        st.markdown(HOW.format(found=len(cause.found), seed=SEED, tested=int(wrong.sum()), controls=CONTROLS))


def _table(cause: GroupCause) -> pd.DataFrame:
    """What hiding does, in words: a row for each way of hiding."""
    assert cause.test is not None
    effects = cause.test.effects.set_index(["hiding", "hidden"])
    lines = []
    for verdict in cause.test.verdicts.to_dict("records"):
        region, random, rest = (effects.loc[(verdict["hiding"], hidden)] for hidden in ("region", "random", "rest"))
        lines.append(
            {
                "hidden by": verdict["hiding"],
                "errors": int(region["errors"]),
                "region mends": f"{region['mended']:.0f} ({region['low']:.0f} to {region['high']:.0f})",
                "random mends": f"{random['mended']:.1f} ({random['low']:.1f} to {random['high']:.1f})",
                "rest mends": f"{rest['mended']:.0f} ({rest['low']:.0f} to {rest['high']:.0f})",
                "more of the errors": f"{verdict['more']:.0%} ({verdict['low']:.0%} to {verdict['high']:.0%})",
                "p": f"{verdict['p']:.2g}",
                "a cause": "yes" if verdict["causes"] else "no",
                "right": int(region["right"]),
                "region breaks": f"{region['broken']:.0f}",
                "random breaks": f"{random['broken']:.1f}",
            }
        )
    return pd.DataFrame(lines)


def _pictures(tested: pd.DataFrame, cause: GroupCause, dataset: Dataset, model: ExplainableModel) -> None:
    """The mean map, and some tested errors with the region's outline; those that are mended first."""
    assert cause.regions is not None and cause.mean_map is not None
    places = {place: number for number, place in enumerate(cause.tested.tolist())}
    first = [places[place] for place in cause.mended.tolist()]
    wrong = np.flatnonzero((tested["true"] != tested["predicted"]).to_numpy(bool)).tolist()
    order = list(dict.fromkeys([*first, *wrong]))[:SHOWN]
    with st.container(horizontal=True, gap="small"):
        with st.container(width=SIDE // 2):
            mean = torch.nn.functional.interpolate(cause.mean_map[None, None], (SIDE, SIDE), mode="bilinear")[0, 0]
            picture = rendering.encoded(rendering.coloured_map(mean.numpy()), "PNG")
            words = f"Mean map of {counted(len(cause.found), 'other error')}"
            display.picture(picture, "Mean map of the first half", caption=f"{words}, the first half", width=SIDE // 2)
            st.caption(words)
        for number in order:
            row = tested.iloc[number]
            with st.container(width=SIDE // 2):
                try:
                    pixels = model.prepare(dataset.open(row["path"])).pixels
                except BadPicture:
                    st.caption("This file can no longer be read.")
                    continue
                done = "mended" if number in first else "not mended"
                alt = f"{alt_text(row.to_dict())}, with the region's outline"
                file = rendering.encoded(outlined(pixels, cause.regions[number]), "PNG")
                display.picture(file, alt, caption=f"{alt}. Hiding the region: {done}.", what=alt, width=SIDE // 2)
                st.caption(f"{markdown.escape(str(row['predicted']))}, true: {markdown.escape(str(row['true']))}; {done}")


def outlined(pixels: Tensor, region: Tensor) -> Image.Image:
    """The picture (3, H, W) with a line around the region (H, W), enlarged."""
    from scipy.ndimage import binary_dilation

    picture = rendering.to_pil(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    mask = Image.fromarray(region.numpy()).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    colours = np.array(picture)
    inside = np.array(mask)
    colours[binary_dilation(inside, iterations=3) & ~inside] = OUTLINE
    return Image.fromarray(colours)
