"""The frame around the pages, and the first call of every page. Imports no torch."""

import gc
import pkgutil
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import streamlit as st
from altair.utils import schemapi
from streamlit.navigation.page import Page

from xai_core.app.shared import identity, job_view, jobs, page_links, report_items
from xai_core.app.shared.error_text import error_text
from xai_core.core import settings
from xai_core.core.errors import BadRequest

# Altair would validate every part of a chart as it is created, which takes most of the time between two results. The tests
# validate the charts, and Streamlit validates each whole chart.
schemapi.disable_debug_mode()

# Streamlit cuts off a chart that is wider than the window; with this style it scrolls sideways. Its grey for the names on
# axes has a contrast of 3.7:1 on a white page, its green of code in a caption 3:1, and its white on the tags and main
# buttons of a dark one 2.3:1. Who goes through a page by keys sees when the page itself has the focus, to be scrolled. The
# name of a picture in a button or link that opens it, or in a box that selects it, is for screen readers. A script takes no
# place above the title. On a narrow screen the controls are hidden behind a button that has only an arrow; with this style
# it has words. The buttons that step through the pictures of a drawer stay at its top, on the drawer's background, and
# nothing that gets the focus is scrolled below them. Paths in the cells of a table of words break where the cell ends. The
# list of pages is close, so that the controls below it are seen without scrolling.
STYLE = """<style>
[data-testid="stVegaLiteChart"] { overflow: auto hidden; position: relative; }
.st-key-evolution-figure { overflow-x: auto; align-items: flex-start; }
.st-key-evolution-figure * { min-width: 50rem; max-width: none; }
svg.marks :is(.role-axis-label, .role-axis-title, .role-legend-label, .role-legend-title) text {
    fill: currentColor;
    fill-opacity: 0.75;
}
:is([class*="st-key-open-"], [class*="st-key-neighbour-"], [class*="st-key-to-report-"]) :is(button, a) strong {
    position: absolute;
    width: 1px;
    height: 1px;
    overflow: hidden;
    clip-path: inset(50%);
}
[class*="st-key-tile-"] [class*="st-key-select-"] label p { height: 1lh; overflow: hidden; word-spacing: 100vw; }
[data-testid="stSidebarNavItems"] li, [data-testid="stSidebarNavLink"] { margin-block: 0; }
[data-testid="stSidebarNavItems"] > :has(> header) { margin-top: 0.3rem; }
[data-testid="stNavSectionHeader"] { margin-block: 0.2rem 0; }
:is([data-testid="stMultiSelect"] [data-tag], button:is([kind="primary"], [kind="primaryFormSubmit"])) {
    background-color: #00628f;
}
[data-testid="stMain"]:focus-visible { outline: 2px solid #56789a; outline-offset: -2px; }
.row-names { position: absolute; top: 0; overflow: hidden; pointer-events: none; }
[data-testid="stElementContainer"]:has(> [data-testid="stHtml"]) { position: absolute; }
[data-testid="stCaptionContainer"] code { color: inherit; }
[data-testid="stMarkdownContainer"] td code { white-space: break-spaces; overflow-wrap: anywhere; }
[data-testid="stDialog"] > div :has(.st-key-drawer-steps) { background-color: inherit; scroll-padding-top: 6rem; }
[data-testid="stLayoutWrapper"]:has(> .st-key-drawer-steps) {
    position: sticky;
    top: -0.75rem;  /* over the space that the drawer has above its contents */
    z-index: 10;
    margin-top: -0.75rem;
    padding: 0.75rem 0 0.5rem;
}
@media (max-width: 768px) {
    [data-testid="stExpandSidebarButton"] { width: auto; padding: 0 0.5rem; }
    [data-testid="stExpandSidebarButton"]::after { content: "Pages and settings"; font-size: 0.9rem; margin-left: 0.3rem; }
}
</style>"""
# The names of rows stay at the left while a chart is scrolled sideways: a copy of the chart's left edge follows.
ROW_NAMES = """<script>
if (!window.rowNamesStay) {
  window.rowNamesStay = true;
  document.addEventListener("scroll", event => {
    const box = event.target;
    if (!(box instanceof Element) || box.dataset.testid !== "stVegaLiteChart") return;
    const chart = box.querySelector(":scope > :not(.row-names) svg.marks, :scope > svg.marks");
    let strip = box.querySelector(":scope > .row-names");
    if (strip && (strip.chart !== chart || box.scrollLeft < 1)) {
      strip.remove();
      strip = null;
    }
    if (!chart || box.scrollLeft < 1) return;
    if (!strip) {
      const names = chart.querySelectorAll(".role-axis[aria-label^='Y-axis'] .role-axis-label text");
      const left = chart.getBoundingClientRect().left;
      const ends = [...names].map(name => name.getBoundingClientRect().right - left);
      strip = Object.assign(document.createElement("div"), {className: "row-names", chart: chart, ariaHidden: "true"});
      strip.style.width = `${Math.max(0, ...ends) + 3}px`;
      strip.append(chart.cloneNode(true));
      box.append(strip);
    }
    strip.style.left = `${box.scrollLeft}px`;
  }, true);
}
</script>"""
# What Streamlit's own parts lack for who reads the page by ear or uses keys alone: the list of pages is one list for each of
# its sections, and a chart that is wider than the window can get the focus, to be scrolled with the arrows.
FOR_EVERYONE = """<script>
if (!window.mendedForEveryone) {
  window.mendedForEveryone = true;
  const set = (element, name, value) => {
    if (element.getAttribute(name) !== value) element.setAttribute(name, value);
  };
  const mend = () => {
    for (const list of document.querySelectorAll('[data-testid="stSidebarNavItems"]')) {
      set(list, "role", "none");
      for (const item of list.querySelectorAll("li"))
        if (item.parentElement === list) set(item, "role", "none");
        else set(item.parentElement, "role", "list");
    }
    for (const chart of document.querySelectorAll('[data-testid="stVegaLiteChart"]')) {
      if (chart.scrollWidth > chart.clientWidth) set(chart, "tabindex", "0");
      else chart.removeAttribute("tabindex");
    }
  };
  let waiting = false;
  const soon = () => {
    if (waiting) return;
    waiting = true;
    setTimeout(() => { waiting = false; mend(); }, 200);
  };
  new MutationObserver(soon).observe(document.body, {childList: true, subtree: true});
  window.addEventListener("resize", soon);
  soon();
}
</script>"""
# An icon that is given to `st.Page` is also the shown page's icon in the browser, which Streamlit loads from the network.
_ICONS = "\n".join(
    f'[data-testid="stSidebarNavLink"][href$="/{"" if title == page_links.HOME else title.replace(" ", "_")}"]::before '
    f'{{ content: "{icon.removeprefix(":material/").removesuffix(":")}" / ""; }}'
    for title, icon in page_links.ICONS.items()
)
LIST_ICONS = f"""<style>
[data-testid="stSidebarNavLink"]::before {{ font: 1rem "Material Symbols Rounded"; opacity: 0.7; margin-right: 0.4rem; }}
{_ICONS}
</style>"""
# A cookie, which the browser forgets when it is closed: after a reload the server knows whose jobs and name are whose. Not
# in the address, which people share. A browser that already has one keeps it.
REMEMBER = """<script>
(([name, token]) => {
  if (document.cookie.split("; ").some(cookie => cookie.startsWith(`${name}=`))) return;
  const secure = window.location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `${name}=${token}; path=/; SameSite=Strict${secure}`;
})(["%s", "%s"]);
</script>"""
# It waits until the page is complete, because only then it is as long as it will be, and scrolls again where what is above
# has moved the container. Once the visitor has done something, it does not scroll: where a page moves between the press and
# the release of the mouse, the click is lost. The number makes it another script each time: the browser runs none twice.
SCROLL_TO = """<script>
(() => {
let acted = false, last = null;
for (const action of ["pointerdown", "keydown", "wheel", "touchstart"])
  document.addEventListener(action, () => acted = true, {capture: true, once: true, passive: true});
(function scroll(attempts) {
  if (acted) return;
  const container = document.querySelector(".st-key-%s");
  const complete = document.querySelector('[data-testid="stApp"][data-test-script-state="notRunning"]');
  if (container && complete) {
    const content = container.closest('[data-testid="stMainBlockContainer"]');
    const place = container.getBoundingClientRect().top - content.getBoundingClientRect().top;
    if (place !== last) {  // a chart above it may be drawn late
      last = place;
      container.style.scrollMarginTop = "4rem";  // below Streamlit's header
      container.scrollIntoView();
    }
  }
  if (attempts) setTimeout(scroll, 100, attempts - 1);
})(300);
})();  // %d
</script>"""
SPARED_SECONDS = 60
_modules, _collected = 0, time.monotonic()  # those loaded when libraries were last set aside; when all garbage was collected
_SCROLL = "scroll to"  # in the session: the key of a container, and how often the page was scrolled so far
# A chart names its own parts (the colours of a legend's bar, the edges of a clipped plot) by the page's whole address, so
# that they are lost when the address changes. After each change they are named without it.
OWN_PARTS = """<script>
if (!window.ownPartsStay) {
  window.ownPartsStay = true;
  const rename = () => {
    for (const name of ["fill", "stroke", "clip-path"])
      for (const element of document.querySelectorAll(`svg.marks [${name}^="url("]`))
        element.setAttribute(name, element.getAttribute(name).replace(/url\\((["']?)[^#]*#/, "url($1#"));
  };
  for (const change of ["pushState", "replaceState"]) {
    const apply = window.history[change].bind(window.history);
    window.history[change] = (...state) => {
      apply(...state);
      rename();
    };
  }
  window.addEventListener("popstate", rename);
}
</script>"""
_FRAMED = "in the frame"  # in the session
ICON = settings.RESOURCES / "docs" / "icon.png"  # a local file: Streamlit loads named icons from the network


_main_module: ModuleType | None = None  # of a script or notebook that serves the app in its own process


def keep_main_module() -> None:
    """Keep the main module of this process. Streamlit puts one of its own in its place when it runs a page, and the script
    that serves the app could no longer pickle what it has defined, nor start processes of its own."""
    global _main_module
    _main_module = sys.modules["__main__"]


def frame() -> None:
    """The list of pages in its sections, and the page that is asked for. For the app's script, which is run first."""
    _navigation().run()


def _navigation() -> Page:
    st.session_state[_FRAMED] = True
    st.set_option("client.showSidebarNavigation", True)  # hidden until now, because Streamlit has a list of its own before
    pages = {title: st.Page(file, title=title, default=title == page_links.HOME) for title, file in page_links.FILES.items()}
    return st.navigation(
        {section: [pages[title] for title in titles] for section, titles in page_links.SECTIONS.items()}, expanded=True
    )


def view(name: str, takes: int | None = None) -> Callable[..., None]:
    """The function "module:function" of `xai_core.app`, which takes the first `takes` of what it is given, or all of it. Its
    module is imported when it is called: the first view of a page does not wait for the libraries of its other views."""

    def show(*given: Any) -> None:
        pkgutil.resolve_name(f"xai_core.app.{name}")(*given[:takes])

    return show


def page(title: str) -> None:
    """Set the page's title, icon and width, and the settings and the way back of the link that opened it.

    Ends the page with a message where an environment variable is wrong.
    """
    if _FRAMED not in st.session_state:
        # A new server runs the file of the page that its first visitor asks for without the frame, because there is a folder
        # `pages`, until it has seen the list of pages.
        _navigation()
        st.rerun()
    if _main_module is not None:
        sys.modules["__main__"] = _main_module
    _spare_libraries()
    st.set_page_config(page_title=f"{title} · Why", page_icon=str(ICON), layout="wide")
    page_links.opened(title)
    page_links.follow()
    if title == page_links.HOME:
        identity.return_after_sign_in()
    st.html(STYLE + LIST_ICONS)
    st.html(page_links.TIDY_HISTORY + ROW_NAMES + OWN_PARTS + FOR_EVERYONE, unsafe_allow_javascript=True)
    st.html(REMEMBER % (jobs.COOKIE, jobs.token()), unsafe_allow_javascript=True)
    _scroll()
    page_links.back_link()
    try:
        settings.check()
    except BadRequest as error:
        st.error(error_text(error))
        st.stop()
    job_view.indicator()
    report_items.indicator()


def _spare_libraries() -> None:
    """Set aside what the loaded libraries hold, so that the garbage collector leaves it out.

    Streamlit collects garbage at the end of every run, of a fragment too. Nothing is sent to the browser meanwhile, and
    going through all objects of the libraries (0.3 s) takes longer than turning a page. They are set aside again when more
    are loaded, and what is set aside with them is looked through once in SPARED_SECONDS.
    """
    global _modules, _collected
    if time.monotonic() - _collected > SPARED_SECONDS:
        _collected = time.monotonic()
        collect_garbage()
    elif len(sys.modules) > _modules:
        gc.freeze()
    _modules = len(sys.modules)


def collect_garbage() -> None:
    """Collect all garbage, also what was set aside, such as the pictures of a session that has ended."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def scroll_to(key: str) -> None:
    """Scroll to the container with this key as soon as the page is shown again. For callbacks."""
    st.session_state[_SCROLL] = key, _scrolled()[1] + 1


def _scrolled() -> tuple[str, int]:
    scrolled: tuple[str, int] = st.session_state.get(_SCROLL, ("", 0))
    return scrolled


def _scroll() -> None:
    key, count = _scrolled()
    if key:
        st.session_state[_SCROLL] = "", count
        st.html(SCROLL_TO % (key, count), unsafe_allow_javascript=True)
