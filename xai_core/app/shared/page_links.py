"""Links from page to page that carry settings, and the way back. Imports no torch.

Streamlit's own navigation loses settings in three ways, which `follow` and TIDY_HISTORY mend:

- Opening a page, it drops from the new page's address every setting that the old page has as well (model, method, ...).
  A link made here therefore carries all settings as one parameter, which no widget is bound to.
- With the browser's Back it drops the same settings, and resets their widgets.
- Each setting that the server writes into the address becomes an entry of the browser's history, and so does the old page's
  address without its settings.
"""

from collections.abc import Mapping
from typing import NamedTuple, NoReturn
from urllib.parse import parse_qs, urlencode

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

HOME = "Home"
SINGLE, METHODS, MODELS = "Single image", "Method comparison", "Model comparison"
METRICS, PAIRS, MISSES, FAILURES = "Faithfulness metrics", "Pairs", "Misclassifications", "Failure analysis"
EVOLUTION, REVIEW, REPORT, JOBS = "Training evolution", "Review", "Report", "Jobs"
FILES = {
    HOME: "pages/0_Start.py",
    SINGLE: "pages/1_Single_image.py",
    METHODS: "pages/2_Method_comparison.py",
    MODELS: "pages/3_Model_comparison.py",
    METRICS: "pages/4_Faithfulness_metrics.py",
    PAIRS: "pages/5_Pairs.py",
    MISSES: "pages/6_Misclassifications.py",
    FAILURES: "pages/7_Failure_analysis.py",
    EVOLUTION: "pages/8_Training_evolution.py",
    REVIEW: "pages/9_Review.py",
    REPORT: "pages/10_Report.py",
    JOBS: "pages/11_Jobs.py",
}  # by the pages' titles
SECTIONS = {
    "": [HOME],
    "Explain": [SINGLE, METHODS, MODELS, PAIRS],
    "Measure": [METRICS],
    "Find out why it fails": [MISSES, FAILURES, EVOLUTION, REVIEW],
    "Report and jobs": [REPORT, JOBS],
}  # of the list of pages
ICONS = {
    HOME: ":material/home:",
    SINGLE: ":material/image_search:",
    METHODS: ":material/grid_view:",
    MODELS: ":material/compare:",
    METRICS: ":material/rule_settings:",
    PAIRS: ":material/join_inner:",
    MISSES: ":material/rule:",
    FAILURES: ":material/troubleshoot:",
    EVOLUTION: ":material/timeline:",
    REVIEW: ":material/how_to_vote:",
    REPORT: ":material/description:",
    JOBS: ":material/pending_actions:",
}

_SHOWN = "title of this page"  # in the session
OPEN, BACK = "open", "back"  # parameters of an address: settings of the page to open; the place that a link came from
Query = Mapping[str, str | list[str]]

# One entry of the browser's history for each opened page: what Streamlit adds for the page that is already there replaces
# its entry, and the entry of a page that is left keeps the address that it had at the click.
TIDY_HISTORY = """<script>
if (!window.oneEntryForEachPage) {
  window.oneEntryForEachPage = true;
  let left = null;
  window.addEventListener("click", event => {
    if (event.target instanceof Element && event.target.closest("a[href]")) left = window.location.href;
  }, true);
  const push = window.history.pushState.bind(window.history);
  window.history.pushState = (state, title, url) => {
    if (new URL(url, window.location.href).pathname === window.location.pathname) {
      window.history.replaceState(state, title, url);
      return;
    }
    if (left !== null && new URL(left).pathname === window.location.pathname) window.history.replaceState({}, "", left);
    left = null;
    push(state, title, url);
  };
}
</script>"""


class PlaceToReturn(NamedTuple):
    """A page, by its title, with the settings in its address."""

    page: str
    settings: str

    def __str__(self) -> str:
        return f"{self.page}?{self.settings}"


def link(page: str, label: str, settings: Query, *, icon: str, origin: str, help: str | None = None) -> None:
    """A link that opens `page` with exactly these settings; all others have their defaults.

    `origin` is the title of the page that the link stands on: the opened page has a link back to it as it is now.
    """
    query = {OPEN: urlencode(settings, doseq=True), BACK: str(here(origin))}
    st.page_link(FILES[page], label=label, icon=icon, help=help, query_params=query)


def go(place: PlaceToReturn, *, origin: str) -> NoReturn:
    """Open a page with exactly its settings, as `link` does."""
    st.switch_page(FILES[place.page], query_params={OPEN: place.settings, BACK: str(here(origin))})


def opened(title: str) -> None:
    """Note which page is shown. For `page_setup`, at the beginning of each."""
    st.session_state[_SHOWN] = title


def shown() -> str:
    """The title of the page that is shown: for what several pages share."""
    return str(st.session_state[_SHOWN])


def here(page: str) -> PlaceToReturn:
    """This page, whose title is `page`, as it is now."""
    settings = {name: st.query_params.get_all(name) for name in st.query_params if name != BACK}
    return PlaceToReturn(page, urlencode(settings, doseq=True))


def back_link() -> None:
    """A link back to the place that this page was opened from, if it was opened by `link`."""
    title, _, settings = st.query_params.get(BACK, "").partition("?")
    if title in FILES:
        st.page_link(
            FILES[title], label=f"Back to {title}", icon=":material/arrow_back:", query_params={OPEN: settings}
        )  # fmt: skip


def follow() -> None:
    """Apply the settings of a link, or of an entry of the browser's history. Call before creating widgets."""
    context = get_script_run_ctx()
    if context is None:
        return
    query = st.query_params.get(OPEN)
    if query is not None:
        settings = parse_qs(query, keep_blank_values=True)
        if BACK in st.query_params:
            settings[BACK] = st.query_params.get_all(BACK)
    elif context.is_history_navigation:
        settings = parse_qs(context.query_string, keep_blank_values=True)
        if settings == {name: st.query_params.get_all(name) for name in st.query_params}:
            return  # an entry of the same page, of which nothing was dropped
    else:
        return
    with context.session_state.query_params() as bound:
        bound.remove_stale_bindings(frozenset())  # the page may link to itself
        bound.from_dict(settings)
        bound.set_initial_query_params_from_current()
    context.is_history_navigation = True  # a widget whose setting the address does not hold gets its default
