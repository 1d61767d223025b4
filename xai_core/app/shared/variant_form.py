"""Variants on the pages: the list of those that are chosen, and the form that makes one. The list stands in the address."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from xai_core.app.shared import loaded_models, widgets
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.widgets import LINK
from xai_core.attribution import variants
from xai_core.attribution.catalog import METHODS
from xai_core.attribution.variants import CUT, PRECISION, Variant
from xai_core.core import runtime
from xai_core.core.errors import BadRequest, XaiError
from xai_core.core.options import options_of
from xai_core.models.explainable import ExplainableModel

KEY = "variants"  # of the list in the address
LIST_HELP = (
    "A variant is a method with options, a target layer or a precision of its own, as in `grad_cam@cut=layer3+eigen=true`: "
    "make one with the form below, or type it as on the command line."
)
AS_USUAL = "As the others"


def methods(model: ExplainableModel) -> list[str]:
    """The names of the methods and variants to compare on one model, from the controls."""
    chosen = widgets.methods(model)
    made = choose(model, beside=chosen)
    return [*chosen, *made]


def choose(
    model: ExplainableModel | None = None,
    *,
    beside: Sequence[str] = (),
    key: str = KEY,
    linked: bool = True,
    added: Callable[[str], None] = lambda name: None,
    without: str = "",
    networks: Sequence[tuple[str, str]] = (),
) -> list[str]:
    """The names of the variants in the list, and below it the form that adds one.

    The page says what is wrong with an entry, and leaves it out. On a `model` each must fit, and be another map than those
    `beside` it; without one each network answers for itself, and the form lists the cuts of those of `networks` (id and
    checkpoint) that are in memory, beside which any name can be typed. `added` is told the name of a new
    variant. Methods of the family `without` are not offered. `linked`: the list is a part of the address.
    """
    texts = st.multiselect(
        "Variants", st.session_state.get(key, []), key=key, accept_new_options=True, help=LIST_HELP,
        placeholder="METHOD@NAME=VALUE", **(LINK if linked else widgets.UNLINKED),
    )  # fmt: skip
    names: list[str] = []
    for text in texts:
        try:
            variant = variants.parse(text)
            if variant.method.family == without:
                raise BadRequest(f"{variant.method.title} is measured always, as a control.")
            variants.parse_all([*beside, *names, text])
            if model is not None:
                variants.check_on([variants.parse(name) for name in (*beside, *names, text)], {model.id: model})
                variants.refuse_misfit(variant, model)
        except XaiError as error:
            why = str(error).removeprefix(f"{text}: ")
            st.error(error_text(f"{text[:80]}: {why} This entry is left out."))
        else:
            names.append(variant.name)
    with st.expander("Make a variant", icon=":material/tune:"):
        _form(model, key, added, without, networks)
    return names


def _form(
    model: ExplainableModel | None,
    key: str,
    added: Callable[[str], None],
    without: str,
    networks: Sequence[tuple[str, str]],
) -> None:
    fitting = [
        id for id, method in METHODS.items() if method.family != without and (model is None or method.misfit(model) is None)
    ]
    method = METHODS[st.selectbox("Method of the variant", fitting, format_func=widgets.method_title, key=f"{key}.of")]
    owner = f"{key}.{method.id}"
    options = {option.name: widgets.control(owner, option, linked=False) for option in options_of(method.run)}
    cut = ""
    if "cut" in method.needs:
        cut = _cut(model, key) if model else _cut_of_any(networks, key)
    precision = st.selectbox("Precision", [AS_USUAL, *runtime.PRECISIONS], key=f"{key}.precision", help=widgets.PRECISION)
    given: dict[str, Any] = {name: variants.as_text(value) for name, value in options.items()}
    given |= {CUT: cut} if cut else {}
    given |= {PRECISION: precision} if precision != AS_USUAL else {}
    try:
        variant = variants.parse(variants.written(method.id, given))
    except XaiError as error:
        st.error(error_text(error))
        return
    if not variant.settings:
        st.caption("Change a setting: with its defaults this is the method itself.")
    else:
        st.markdown(f"**{error_text(variant.title)}**")
    st.button("Add variant", on_click=_add, args=(variant, key, added), disabled=not variant.settings, key=f"{key}.add")


def _cut(model: ExplainableModel, key: str) -> str:
    """The target layer; "" where it is the model's default."""
    usual = model.network.cut_name(None)
    cut = st.selectbox(
        "Target layer (cut)", model.cuts, model.cuts.index(usual), key=f"{key}.{model.id}.cut", help=widgets.CUT
    )
    return "" if cut == usual else cut


def _cut_of_any(networks: Sequence[tuple[str, str]], key: str) -> str:
    """A target layer by its name, listed or typed; "" where it is each network's default."""
    models = [model for network in networks if (model := loaded_models.loaded(*network)) is not None]
    counts = Counter(cut for model in models for cut in model.cuts)
    cut: str | None = st.selectbox(
        "Target layer (cut)", [*counts], None, key=f"{key}.cut", accept_new_options=True, help=ANY_CUT,
        placeholder="Each network's default",
        format_func=lambda cut: f"{cut} ({counts[cut]} of {len(networks)} networks)" if cut in counts else cut,
    )  # fmt: skip
    return (cut or "").strip()


ANY_CUT = (
    "The name of a layer, such as layer3, that every network has: the layers of the networks in memory are listed, and any "
    "name can be typed. A network without it says so. Empty: each network's default."
)


def _add(variant: Variant, key: str, added: Callable[[str], None]) -> None:
    """Put a variant at the end of the list. For callbacks."""
    listed = st.session_state.get(key, [])
    if variant.name not in listed:
        st.session_state[key] = [*listed, variant.name]
    added(variant.name)
