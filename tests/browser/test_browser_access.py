"""Every page for everyone: read by a screen reader, by keys alone, on a telephone, at 200% zoom, in both themes.

A page is opened once. It is then shown light and dark at each width, and axe-core looks for missing names, labels and
alternative texts, wrong roles and too little contrast. A new page is tested by standing in the list of pages.
"""

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from browsing import settled
from playwright.sync_api import Page

from xai_core.app.shared import page_links

pytestmark = pytest.mark.browser
WIDTHS = 1600, 800, 380  # a wide window; the same at a zoom of 200%; a telephone
SCHEMES = {  # axe's rules for WCAG 2.1 A and AA; of these only one depends on the theme
    "light": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]},
    "dark": {"type": "rule", "values": ["color-contrast"]},
}
CELLS = 60  # times Tab at most stays in one control: it goes through the cells of a table first

# What is wrong inside Streamlit's own widgets and cannot be mended from outside: by axe's rule and the selector of the
# elements, with the reason. One that no longer occurs on a page where it is listed fails the test: take it out.
KNOWN: dict[tuple[str, str], tuple[list[str], str]] = {}

# Colours are compared when they have arrived, and no tooltip of a control that was left covers another one.
STILL = "*, *::before, *::after { transition: none !important; animation: none !important; }"
LOOK = """async ([rules, known]) => {
    const found = await axe.run(document, {runOnly: rules, resultTypes: ["violations"], elementRef: true});
    const faults = [], seen = [];
    for (const {id, nodes} of found.violations)
        for (const {element, target, failureSummary} of nodes) {
            const at = known.findIndex(([rule, selector]) => rule === id && element.matches(selector));
            if (at >= 0) seen.push(at);
            else faults.push(`${id}: ${target.join(" ")}: ${element.outerHTML.slice(0, 200)} `
                + failureSummary.split("\\n")[1]);
        }
    return [faults, seen];
}"""
WIDER = """() => [document.documentElement, document.querySelector('[data-testid="stMain"]')]
    .map(box => box.scrollWidth - box.clientWidth)"""
# The controls that can be seen, in the order of the document, those of the project's components too. Of a group of radio
# buttons one is reached with Tab, the others with the arrows.
CONTROLS = """() => {
    const found = [];
    const walk = root => {
        for (const element of root.querySelectorAll("*")) {
            if (element.tabIndex >= 0 && !element.disabled && element.getClientRects().length
                && element.checkVisibility({visibilityProperty: true}) && !element.closest("[inert]")
                && element.matches("a[href], button, input, select, textarea, summary, [tabindex], [contenteditable=true]")
                && !(element.type === "radio" && !element.checked)
                && !(element.role === "radio" && element.ariaChecked === "false")) found.push(element);
            if (element.shadowRoot) walk(element.shadowRoot);
        }
    };
    walk(document);
    window.controls = found;
    window.reached = [];
    window.focused = null;
}"""
# What shows the focus: the style of the control and of what is drawn for it, around it and beside it. A table draws its own
# cells; those that screen readers are told of lie unseen inside its canvas.
STEP = """most => {
    const looks = ["outlineStyle", "outlineWidth", "boxShadow", "borderColor", "borderStyle", "backgroundColor", "color",
        "textDecorationLine", "opacity", "visibility"];
    const look = parts => parts.map(part => looks.map(name => getComputedStyle(part)[name]).join()).join(";");
    const name = element => element.outerHTML.slice(0, 250);
    let unseen = null;
    let now = document.activeElement;
    while (now && now.shadowRoot && now.shadowRoot.activeElement) now = now.shadowRoot.activeElement;
    const last = window.focused && window.focused.parts[0];
    if (last && last !== now && last.isConnected && !last.closest("canvas")
        && look(window.focused.parts) === window.focused.look) unseen = name(last);
    if (!now || now === document.body) { window.focused = null; return [true, unseen]; }
    if (last === now) {
        window.focused.stays += 1;
        return [window.focused.stays > most, window.focused.stays > most ? `${name(now)} (holds the focus)` : null];
    }
    const parts = [now, ...now.children];
    for (let up = now.parentElement, steps = 0; up && steps < 3; up = up.parentElement, steps++)
        parts.push(up, ...[...up.children].slice(0, 6));
    window.focused = {parts, look: look(parts), stays: 0};
    const again = window.reached.includes(now);
    window.reached.push(now);
    return [again, unseen];
}"""
MISSED = """() => {
    const places = window.reached.map(element => window.controls.indexOf(element)).filter(place => place >= 0);
    const backwards = places.filter((place, number) => number && place < places[number - 1]);
    const missed = window.controls.filter(control => control.isConnected && !window.reached.includes(control));
    return [missed.map(control => control.outerHTML.slice(0, 250)),
        backwards.map(place => window.controls[place].outerHTML.slice(0, 250))];
}"""


@pytest.mark.parametrize("title", page_links.FILES)
def test_everyone_can_use_the_page(visit, title):
    page = visit("" if title == page_links.HOME else title.replace(" ", "_"))
    page.set_viewport_size({"width": WIDTHS[0], "height": 1000})
    page.add_style_tag(content=STILL)
    settled(page)
    faults = walked(page)
    page.evaluate(AXE_SCRIPT)
    listed = [fault for fault, (pages, _) in KNOWN.items() if title in pages]
    seen = set()
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 1000})
        for scheme, rules in SCHEMES.items():
            page.emulate_media(color_scheme=scheme)
            settled(page)
            found, known = page.evaluate(LOOK, [rules, listed])
            faults += [f"{scheme}, {width} pixels: {fault}" for fault in found]
            seen |= set(known)
            wider = page.evaluate(WIDER)
            faults += [f"{scheme}, {width} pixels: wider than the window by {wider}"] if max(wider) > 0 else []
    assert not faults, "\n".join(faults)
    assert [listed[place] for place in range(len(listed)) if place not in seen] == []


def walked(page: Page) -> list[str]:
    """What is wrong for who uses keys alone: Tab reaches every control in the order of the page, each shows that it has the
    focus, and none holds it."""
    page.evaluate(CONTROLS)
    faults, ended = [], False
    while not ended:
        page.keyboard.press("Tab")
        ended, unseen = page.evaluate(STEP, CELLS)
        faults += [f"focus is not seen: {unseen}"] if unseen else []
    missed, backwards = page.evaluate(MISSED)
    return [*faults, *(f"not reached: {one}" for one in missed), *(f"out of order: {one}" for one in backwards)]
