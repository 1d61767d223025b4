"""The table of the parts of a drawn picture on the page Pairs: what the similarity depends on, and what maps show of it."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st
import torch
from numpy.typing import NDArray

from xai_core.app.pairs.tiles import PairSettings, Results, title
from xai_core.app.pairs.views import Views, is_upload
from xai_core.app.shared import cache, display, network_outputs, page_links, page_work
from xai_core.app.shared.page_work import PageWork, Part
from xai_core.app.shared.widgets import LINK
from xai_core.core import markdown
from xai_core.core.errors import XaiError
from xai_core.core.runtime import Track
from xai_core.explanation.heatmaps import size_of
from xai_core.explanation.result import Explanation
from xai_core.models.explainable import ExplainableModel
from xai_core.pairs.evaluate import raw
from xai_core.pairs.explain import ask_pair, pair_request
from xai_core.pairs.metrics import full_size
from xai_core.pairs.parts import PairParts, PartEffects, part_effects, shares

FALLS = ("Fall, both views", "Fall, view 1", "Fall, view 2")
DRAWING_SECONDS = 0.01  # to draw a picture and to cut a view from it


def table(model: ExplainableModel, views: Views, parts: PairParts, settings: PairSettings, results: Results) -> None:
    """Each part with the fall of the similarity without it, and its share of each view's map and of each view."""
    st.markdown("##### What the similarity depends on")
    effects = _effects(model, views, parts, settings)
    if effects is None:
        return
    maps = {method: result for method, result in results.items() if not isinstance(result, XaiError)}
    shown: Sequence[Explanation] = ()
    if maps:
        method = st.selectbox("Map in the table", list(maps), format_func=title, key="parts_map", **LINK)
        shown = [explanation for explanation in maps[method] if explanation is not None]
    size, numbers = size_of(views.first), range(1, len(parts.views) + 1)
    columns: dict[str, NDArray[np.float64]] = {
        name: falls for name, falls in zip(FALLS, effects.falls.T, strict=True) if np.isfinite(falls).all()
    }
    of_maps = [shares(parts, number, full_size(raw(own), size)) for number, own in zip(numbers, shown, strict=False)]
    columns |= {f"Map, view {number}": own for number, own in enumerate(of_maps, start=1)}
    columns |= {f"Area, view {number}": shares(parts, number, torch.ones(size)) for number in numbers}
    first = next(iter(columns))
    rows = pd.DataFrame(columns, index=pd.Index(effects.names, name="Part")).sort_values(first, ascending=False)
    st.markdown(_in_words(rows, first, settings.similarity.words, title(method) if maps else ""))
    formats = {name: st.column_config.NumberColumn(format="%.3f" if name in FALLS else "percent") for name in columns}
    display.table(
        rows,
        column_config=formats,
        key="parts",
        placeholder="–",
        alt=f"{first} and shares of the maps, by part of the picture",
    )
    st.caption(
        f"Fall: the {settings.similarity.words} of the views as they are, minus that after the part was taken out of the "
        "drawn scene, the picture drawn again, and the same views made of it (same crop, flip and colour changes). The part "
        "is missing in both views or in one of them. Negative: the views are more similar without it. Without the "
        "background, the ground is plain grey. Map: the part's share of the map's positive values. Area: its share of the "
        "view, which it would have of a uniform map. Dash: the part is not in this view, or the map has no positive values."
    )


def _in_words(rows: pd.DataFrame, first: str, words: str, method: str) -> str:
    """In sentences: the part without which the similarity falls most, and the part with most of each view's map."""
    top, fall = str(rows.index[0]), float(rows[first].iloc[0])
    falls = f"The {words} falls most without **{markdown.escape(top)}** (by {fall:.3f})."
    sentences = [falls if round(fall, 3) > 0 else f"The {words} does not fall without any of the parts."]
    for view in ("view 1", "view 2"):
        share = rows.get(f"Map, {view}")
        if share is not None and not math.isnan(share.max()):
            part, area = str(share.idxmax()), rows[f"Area, {view}"]
            sentences.append(
                f"In {view}, {method} has {share[part]:.0%} of its map on **{markdown.escape(part)}**, which covers "
                f"{area[part]:.0%} of the view."
            )
    return " ".join(sentences)


def _effects(model: ExplainableModel, views: Views, parts: PairParts, settings: PairSettings) -> PartEffects | None:
    """The effects of the parts, computed at once if that is quick; None while a job has not computed them."""
    asked = pair_request(model, views.first, views.second, similarity=settings.similarity)
    key = asked.computing("effects of parts", parts=parts.key).key

    def compute(track: Track) -> None:
        pair = ask_pair(model, views.first, views.second, similarity=settings.similarity)
        cache.put(key, part_effects(pair, parts, track))

    seconds = network_outputs.pass_seconds(model, parts.passes) + DRAWING_SECONDS * parts.passes
    missing = [Part("Effects of parts", seconds, compute)] if cache.get(key) is None else []
    page_work.complete(
        PageWork(
            key, missing, f"Effects of parts on the pair {views.name}", page_links.PAIRS, is_upload(), "Take parts away"
        )
    )
    effects: PartEffects | None = cache.get(key)
    return effects
