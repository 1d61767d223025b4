"""The pictures of the gallery that a visitor has selected: to tag together, to review, to open on pages that compare.

They stay selected while other pictures are listed, until they are cleared or the dataset changes. On a tile `x` selects as
its box does, with Shift all tiles from the last one to this one.
"""

from collections.abc import Iterable

import streamlit as st

from xai_core.app.shared import note_form, page_links, predictions, review_store, round_form, session
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.page_work import counted
from xai_core.app.shared.predictions import FilteredRows
from xai_core.app.shared.round_form import RoundPictures
from xai_core.app.shared.widgets import dataset_picture
from xai_core.core import markdown, settings
from xai_core.core.errors import BadRequest, XaiError
from xai_core.data.datasets import Dataset
from xai_core.models.explainable import ExplainableModel
from xai_core.models.zoo.catalog import cards
from xai_core.review import picture_notes

_SELECTED = "selected pictures"  # in the session: the dataset's digest, and the pictures in the order of selection
TAGS = "tags of the selected"

# The tile that has the focus, or else the one under the pointer. A box is clicked, so that the page sees what a person does.
KEYS = """<script>
if (!window.tilesHaveKeys) {
  window.tilesHaveKeys = true;
  const TILE = '[class*="st-key-tile-"]';
  const box = tile => tile?.querySelector('[class*="st-key-select-"] input[type="checkbox"]');
  let last = null, here = null;
  const all = () => [...document.querySelectorAll(TILE)].filter(box);
  const key = tile => [...tile.classList].find(name => name.startsWith("st-key-tile-"));
  const range = tile => {
    const tiles = all(), from = tiles.findIndex(one => key(one) === last), to = tiles.indexOf(tile);
    if (from < 0 || to < 0) return;
    const wanted = box(tile).checked;
    for (const one of tiles.slice(Math.min(from, to), Math.max(from, to) + 1))
      if (box(one).checked !== wanted) box(one).click();
  };
  const chosen = (tile, shift) => setTimeout(() => {  // when the box has changed
    if (shift) range(tile);
    last = key(tile);
  }, 50);
  document.addEventListener("pointerover", event => { here = event.target.closest?.(TILE) ?? null; }, true);
  document.addEventListener("click", event => {
    if (!event.isTrusted || !event.target.closest?.('[class*="st-key-select-"]')) return;
    const tile = event.target.closest(TILE);
    if (tile) chosen(tile, event.shiftKey);
  }, true);
  document.addEventListener("keydown", event => {
    if (event.key.toLowerCase() !== "x" || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const active = document.activeElement;
    if (active?.matches('textarea, [contenteditable="true"], input:not([type="checkbox"])')) return;
    if (document.querySelector('[data-testid="stDialog"]')) return;
    const tile = active?.closest(TILE) ?? here;
    if (!box(tile)) return;
    box(tile).click();
    chosen(tile, event.shiftKey);
  }, true);
}
</script>"""


def of(dataset: Dataset) -> list[str]:
    """The selected pictures of this dataset, in the order of selection."""
    digest, paths = st.session_state.get(_SELECTED, ("", []))
    return list(paths) if digest == dataset.digest else []


def _keep(dataset: Dataset, paths: Iterable[str]) -> None:
    st.session_state[_SELECTED] = (dataset.digest, list(dict.fromkeys(paths)))


def box(dataset: Dataset, path: str) -> None:
    """The box of a tile that selects its picture. "Select" is seen; its name, for screen readers, has the path as well (the
    style of every page hides it)."""
    key, wanted = f"select {path}", path in of(dataset)
    if st.session_state.get(key, False) != wanted:  # set only where it differs: else a click that is on its way is undone
        st.session_state[key] = wanted
    st.checkbox(f"Select {markdown.escape(path)}", key=key, on_change=_toggle, args=(dataset, path, key))


def _toggle(dataset: Dataset, path: str, key: str) -> None:
    others = [other for other in of(dataset) if other != path]
    _keep(dataset, [*others, path] if st.session_state[key] else others)


def bar(rows: FilteredRows, dataset: Dataset, model: ExplainableModel, shown: list[str], word: str = "shown") -> None:
    """How many are selected, and what can be done with them; `shown` are the pictures of the gallery's page, or others that
    a button selects and that are `word`."""
    st.html(KEYS, unsafe_allow_javascript=True)
    complaint = session.complaint()
    if complaint:
        st.error(error_text(complaint))
    chosen = of(dataset)
    known = rows.held.places(chosen) if chosen else {}
    paths = tuple(path for path in chosen if path in known)
    with st.container(horizontal=True, vertical_alignment="center"):
        if not set(shown) <= set(paths):
            st.button(
                f"Select the {len(shown):,} {word}", key="select all", icon=":material/select_all:", help=HELP,
                on_click=_keep, args=(dataset, (*paths, *shown)),
            )  # fmt: skip
        if paths:
            st.button(
                "Clear the selection", key="clear selection", icon=":material/deselect:", on_click=_keep, args=(dataset, ())
            )
            st.markdown(f"**{counted(len(paths), 'picture')} selected**")
    if paths:
        with st.container(border=True, key="selected"):
            _actions(paths, dataset, model)


HELP = "On a tile, the key x selects its picture, and Shift+x all from the last one to this one."


def _actions(paths: tuple[str, ...], dataset: Dataset, model: ExplainableModel) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if settings.READONLY.value():
            st.caption(note_form.READ_ONLY)
        else:
            st.text_input("Tags for all of them, separated by commas", key=TAGS, width=300)
            st.button(
                f"Tag {counted(len(paths), 'picture')}", key="tag selected", icon=":material/label:", on_click=_tag,
                args=(paths, dataset),
            )  # fmt: skip
        round_form.offer(RoundPictures(paths, predictions.with_filters("Pictures selected", dataset)), "selected")
    first = dataset_picture(st.session_state["dataset"], paths[0])
    weights = f"{model.id}.weights"
    network = {"model": cards()[model.id].title}
    if weights in st.query_params:
        network[weights] = st.query_params[weights]
    with st.container(horizontal=True):
        page_links.link(
            page_links.METHODS, "Compare methods on the first", first | network,
            icon=":material/grid_view:", origin=page_links.shown(),
        )  # fmt: skip
        page_links.link(
            page_links.MODELS, "Compare networks on the first", first, icon=":material/compare:", origin=page_links.shown()
        )
    if len(paths) > 1:
        st.caption(f"The pages that compare take one picture: the first selected, {markdown.escape(paths[0])}.")


def _tag(paths: tuple[str, ...], dataset: Dataset) -> None:
    """Add the tags to those that the pictures have: to all of them, or to none where that fails."""
    try:
        tags = picture_notes.note(st.session_state[TAGS])
        if not tags.tags:
            raise BadRequest("Type a tag first.")
        picture_notes.add(review_store.engine(), dataset, dict.fromkeys(paths, tags), note_form.writer())
    except XaiError as error:
        session.complain(str(error))
        return
    st.session_state[TAGS] = ""
    st.toast(f"Tagged {counted(len(paths), 'picture')}: {markdown.escape(', '.join(tags.tags))}.")
