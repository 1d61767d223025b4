"""The drawer beside the page that shows one picture of a group, and what opens it: tiles, tables, charts.

Which picture is open, and the list that it was opened from, are in the page's address (`sample`, `list`), so that a link, a
reload and the browser's Back restore both.
"""

import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
import streamlit as st

from xai_core.analysis import map_sheet
from xai_core.app.shared import display, map_gallery, round_form, sample_detail
from xai_core.app.shared.predictions import FilteredRows, pair_words
from xai_core.app.shared.round_form import RoundPictures
from xai_core.core import markdown
from xai_core.data.datasets import Dataset
from xai_core.data.held_predictions import HeldPredictions
from xai_core.models.explainable import ExplainableModel

SAMPLE, LIST = "sample", "list"  # in the address: the open picture, and the title of the group that it was opened from
WIDTH = 620  # pixels: two maps beside each other
WIDE = 1000  # pixels: three maps beside each other in each half
MAPS, _TURNED = "maps of the list", "drawer turned"  # in the session: whether it shows many maps; whether that has changed
_GROUP, _OFFERED, _CLOSED, _LAST = "opened group", "offered groups", "drawers closed", "picture closed last"
STALE_SECONDS = 3.0  # after closing, in which an address that still names the picture is older than the closing
NEAREST = " and its nearest pictures"  # the end of the title of such a group, after the picture's path

# After the drawer is closed, Streamlit gives the focus back to the button that opened it, but not to a table, which does not
# take the focus when its row is clicked, nor to a chart, which is made anew. The browser remembers which of them was
# clicked, by its place on the page.
RETURN_FOCUS = """<script>
if (!window.focusReturns) {
  window.focusReturns = true;
  const OPENERS = ['[data-testid="stDataFrame"]', '[data-testid="stVegaLiteChart"]'];
  const drawer = () => document.querySelector('[data-testid="stDialog"]');
  let opener = null, wasOpen = false;
  const remember = event => {
    if (drawer() || !(event.target instanceof Element)) return;
    const selector = OPENERS.find(selector => event.target.closest(selector));
    const all = selector ? [...document.querySelectorAll(selector)] : [];
    opener = selector ? {selector, place: all.indexOf(event.target.closest(selector))} : null;
  };
  const giveBack = (closedNow, quiet) => {
    if (!opener || drawer() || quiet > 10) return;
    const active = document.activeElement;
    if (closedNow || active === document.body || active.matches('[data-testid="stMain"]')) {
      const box = document.querySelectorAll(opener.selector)[opener.place];
      const element = box?.querySelector("canvas[tabindex]") ?? box;  // of a table, what the arrow keys work in
      if (element?.tabIndex < 0) element.tabIndex = -1;
      element?.focus({preventScroll: true});
    }
    const ready = document.querySelector('[data-testid="stApp"][data-test-script-state="notRunning"]');
    setTimeout(giveBack, 100, false, ready ? quiet + 1 : 0);  // the element may be made anew until the page is quiet
  };
  document.addEventListener("pointerdown", remember, true);
  document.addEventListener("keydown", remember, true);
  new MutationObserver(() => {
    const open = drawer() !== null;
    if (wasOpen && !open) setTimeout(giveBack, 100, true, 0);
    wasOpen = open;
  }).observe(document.body, {childList: true});
}
</script>"""


class Group(NamedTuple):
    """Pictures through which the drawer steps, by their names in the dataset."""

    title: str
    paths: Sequence[str]


def group_of(title: str, rows: pd.DataFrame, held: HeldPredictions | None = None) -> Group:
    """The pictures of some rows, in their order; rows without the column `path` are those of `held`."""
    return Group(title, tuple(rows["path"]) if held is None else held.names(rows))


def pair_group(true: str, predicted: str, rows: pd.DataFrame, held: HeldPredictions) -> Group:
    """The pictures of class `true` that were predicted as `predicted`, the most confident prediction first."""
    same = rows[(rows["true"] == true) & (rows["predicted"] == predicted)]
    return group_of(pair_words(true, predicted), same.sort_values("confidence", ascending=False, kind="stable"), held)


def pair_groups(title: str, rows: pd.DataFrame) -> dict[tuple[str, str], Group]:
    """The pictures of every cell of a matrix, by its true and predicted class; `title` is that of the matrix."""
    rows = rows.sort_values("confidence", ascending=False, kind="stable")
    cells = {
        (str(true), str(predicted)): cell for (true, predicted), cell in rows.groupby(["true", "predicted"], sort=False)
    }
    return {classes: group_of(f"{title}: {pair_words(*classes)}", cell) for classes, cell in cells.items()}


def open_group(group: Group, path: str | None = None) -> None:
    """Open the drawer on a group, at one of its pictures (by default the first). For callbacks."""
    if group.paths:
        st.session_state[_GROUP], st.session_state[_LAST] = group, None
        st.query_params[SAMPLE], st.query_params[LIST] = path or group.paths[0], group.title


class OfferedGroup(NamedTuple):
    """The title of a group, and the function that makes it: for views with many groups."""

    title: str
    make: Callable[[], Group]


def offer(groups: Iterable[Group | OfferedGroup]) -> None:
    """Groups that a view shows: a link or a reload steps through the one whose title is in the address, or else through the
    first one that has the open picture."""
    offered: list[Group | OfferedGroup] = st.session_state[_OFFERED]
    offered += groups


def begin() -> None:
    """Forget what the page offered before. Call it before the views."""
    st.session_state[_OFFERED] = []
    st.html(RETURN_FOCUS, unsafe_allow_javascript=True)


def close() -> None:
    """Close the drawer. For callbacks."""
    st.session_state[_LAST] = (st.query_params.get(SAMPLE), time.monotonic())
    _forget_address()
    st.session_state[_CLOSED] = st.session_state.get(_CLOSED, 0) + 1


def _forget_address() -> None:
    for name in (SAMPLE, LIST):
        st.query_params.pop(name, None)


def _is_stale(path: str) -> bool:
    """Whether the address names a picture that was closed a moment ago: what the visitor did next was sent before the
    browser had the new address."""
    closed, when = st.session_state.get(_LAST) or (None, 0.0)
    return path == closed and time.monotonic() - when < STALE_SECONDS


def chart_key(name: str) -> str:
    """The key of a chart whose marks open the drawer: another one after each closing, so that no mark stays selected and
    the same one can be clicked again."""
    return f"{name} {st.session_state.get(_CLOSED, 0)}"


def picked(key: str, selection: str) -> dict[str, Any] | None:
    """The fields of the mark that was clicked in the chart `key`; None where the click was beside all marks."""
    points = st.session_state[key]["selection"].get(selection)
    return dict(points[0]) if points else None


def table(
    rows: pd.DataFrame,
    key: str,
    opens: Callable[[int], tuple[Group, str | None]],
    *,
    openable: Sequence[bool] | None = None,
    columns: Mapping[str, Any] | None = None,
    alt: str,
) -> None:
    """A table with a button in each row (that is `openable`): it opens the drawer on a group, and at a picture of it, which
    are `opens(row)`. `alt` says what it holds."""
    display.openable_table(rows, key, lambda row: open_group(*opens(row)), openable=openable, columns=columns, alt=alt)


def show(rows: FilteredRows, dataset: Dataset, model: ExplainableModel) -> None:
    """The drawer, if a picture is open. Call it once, at the end of the page."""
    path = st.query_params.get(SAMPLE)
    if path is None:
        return
    if path not in rows.names(rows.every) or _is_stale(path):  # of another dataset, or closed
        _forget_address()
        return
    st.session_state[_GROUP] = _group_with(path, rows)
    st.query_params[LIST] = st.session_state[_GROUP].title
    maps = bool(st.session_state.get(MAPS))
    drawer = st.dialog("Maps" if maps else "One picture", width=WIDE if maps else WIDTH, position="right", on_dismiss=close)
    drawer(_contents)(rows, dataset, model)


def _group_with(path: str, rows: FilteredRows) -> Group:
    """The group to step through from the open picture: the one that the visitor opened, or the one that a link names."""
    title = st.query_params.get(LIST)
    opened: Group | None = st.session_state.get(_GROUP)
    if opened is not None and title in (opened.title, None) and path in opened.paths:
        return opened
    offered: list[Group | OfferedGroup] = [
        *st.session_state[_OFFERED], Group("Pictures listed", rows.names(rows.listed)),
        Group("All pictures", rows.names(rows.every)),
    ]  # fmt: skip
    if title is not None and title.endswith(NEAREST):
        offered.append(_nearest_group(title.removesuffix(NEAREST), rows))
    offered.sort(key=lambda group: group.title != title)
    groups = (group if isinstance(group, Group) else group.make() for group in offered)
    return next(group for group in groups if path in group.paths)


def _nearest_group(path: str, rows: FilteredRows) -> Group:
    """A picture and those that are shown as its nearest ones; empty where the dataset has no such picture."""
    if path not in rows.names(rows.every):
        return Group(f"{path}{NEAREST}", ())
    near = sample_detail.nearest_right(rows.held, path)
    return Group(f"{path}{NEAREST}", (path, *near["path"]))


def _contents(rows: FilteredRows, dataset: Dataset, model: ExplainableModel) -> None:
    """The open picture, or the maps of many pictures of its group."""
    group: Group = st.session_state[_GROUP]
    if st.session_state.pop(_TURNED, False):
        st.rerun()  # the drawer gets another width
    if st.toggle("Maps of the whole list", key=MAPS, help=MAPS_HELP, on_change=_turn):
        _maps(group, rows, dataset, model)
    else:
        _picture(group, rows, dataset, model)


MAPS_HELP = "Shows the maps of 24 pictures at once, wrong and right ones side by side, all on one scale."


def _turn() -> None:
    st.session_state[_TURNED] = True


def _maps(group: Group, rows: FilteredRows, dataset: Dataset, model: ExplainableModel) -> None:
    """The maps of the group's pictures, wrong and right side by side; a button below each opens the picture."""
    st.markdown(f"{markdown.escape(group.title)}: **{len(group.paths):,}**")
    halves = map_sheet.halves(rows.held.of_names(group.paths).reset_index(drop=True), rows.every)

    def below(row: Mapping[Hashable, Any]) -> None:
        display.open_button(row["path"], f"open map {row['path']}", _open_picture, (group, row["path"]))

    map_gallery.show(halves, dataset, model, group.title, "list maps", below, rows.whole)


def _open_picture(group: Group, path: str) -> None:
    """Show one picture instead of the maps. One that stands there for comparison is opened in a list of its own."""
    st.session_state[MAPS], st.session_state[_TURNED] = False, True
    open_group(group if path in group.paths else Group(f"For comparison with {group.title}", (path,)), path)


def _picture(group: Group, rows: FilteredRows, dataset: Dataset, model: ExplainableModel) -> None:
    """The open picture, and the buttons that step through its group."""
    path = st.query_params.get(SAMPLE, group.paths[0])
    place = group.paths.index(path)
    with st.container(horizontal=True, vertical_alignment="center", key="drawer-steps"):  # `page_setup` keeps it in view
        st.button(
            "Previous", key="previous", icon=":material/chevron_left:", shortcut="Left", disabled=place == 0,
            on_click=open_group, args=(group, group.paths[max(place - 1, 0)]),
        )  # fmt: skip
        st.button(
            "Next", key="next", icon=":material/chevron_right:", shortcut="Right", disabled=place == len(group.paths) - 1,
            on_click=open_group, args=(group, group.paths[min(place + 1, len(group.paths) - 1)]),
        )  # fmt: skip
        st.markdown(f"{markdown.escape(group.title)}: **{place + 1}** of {len(group.paths):,}")
    if st.button("Review this list", key="round of the list", icon=":material/how_to_vote:", help=round_form.HELP):
        close()
        round_form.begin(RoundPictures(group.paths, group.title))
        st.rerun()
    sample_detail.show(
        rows.held, path, dataset, model,
        open_neighbour=lambda other: open_group(_nearest_group(path, rows), other),
        open_draft=lambda paths, other: open_group(Group("Notes not saved yet", paths), other),
    )  # fmt: skip
