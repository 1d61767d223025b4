"""Patches of outlying norm on the page Single image: the sentence, and the map with these patches outlined."""

from typing import Any

import streamlit as st

from xai_core.app.shared import cache, display
from xai_core.app.shared.widgets import Chosen
from xai_core.attribution.outlying_patches import OutlyingPatches, token_norms
from xai_core.core import markdown
from xai_core.core.errors import XaiError
from xai_core.data.preprocessing import Prepared
from xai_core.explanation import rendering
from xai_core.explanation.result import Explanation
from xai_core.models.explainable import ExplainableModel

WIDTH = 480  # pixels


def find(model: ExplainableModel, prepared: Prepared, result: Explanation | XaiError | None) -> OutlyingPatches | None:
    """The outlying patches of an explanation; None without one, and for a network without a grid of tokens."""
    if not isinstance(result, Explanation):
        return None
    key = f"token norms {model.id} {model.fingerprint} {result.picture}"
    (tokens,) = cache.get_or_compute(key, lambda: (token_norms(model, prepared),))
    return None if tokens is None else OutlyingPatches(result, tokens)


def for_export(found: OutlyingPatches | None) -> dict[str, Any]:
    """What the JSON of the explanation says of them."""
    return {"outlying_patches": found.settings()} if found else {}


def section(found: OutlyingPatches | None, chosen: Chosen) -> None:
    """The sentence, and the outlined patches where there are some; nothing for a network without a grid of tokens."""
    if found is None:
        return
    if not found.count:
        st.caption(markdown.escape(found.words), help=RULE)
        return
    st.markdown("#### Patches of outlying norm", help=RULE)
    st.markdown(markdown.escape(found.words))
    with st.container(width=WIDTH):
        display.picture(
            rendering.encoded(found.picture(), "PNG"),
            f"{chosen.name}, the map on what the network saw. {found.words}",
            caption=f"Outlined: patches of outlying norm. {rendering.caption(found.explanation)}",
            what="the patches of outlying norm",
            key="outlying",
            width="stretch",
        )


RULE = (
    "Transformers keep facts about the whole picture in a few patches, mostly of plain background, whose tokens then have a "
    "large norm (Darcet et al. 2023). A patch counts where its norm is above twice the median of the picture's patches and "
    "above the median by 5 robust standard deviations (1.4826 MAD)."
)
