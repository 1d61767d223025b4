"""Pictures and maps that are zoomed, moved and read together: panels drawn by a component of the project's own.

`show` draws panels. All panels whose `linked` is the same word, also those of other calls, share the part that is seen, the
opacity, the share of the picture that is bare, and the pointer; they keep it while the page runs again and while another
method is shown, until there is another picture. All this happens in the browser: a panel gets the picture, the raw values
of its map and its colours once, from addresses, and draws them as `rendering.overlay` does. A box or a painted region is
sent to the page, and a slider when it is let go.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image

from xai_core.app.shared import browser_component, report_items
from xai_core.core.cache_key import array_digest
from xai_core.data.box import Box
from xai_core.explanation import rendering
from xai_core.explanation.rendering import Scale
from xai_core.explanation.result import Explanation

OPACITY = 0.8  # before it is changed
_MOST = {"opacity": 1.0, "threshold": 0.95}
LONGEST = 1400  # pixels: longer side of the picture that is sent
MASK = 256  # longer side of a painted region's grid, in cells
_draw = browser_component.beside(__file__, "picture_viewer")
Tool = Literal["box", "brush"]


class Panel(NamedTuple):
    """What one panel shows: a map over its picture, the map alone, or the picture alone.

    `alt` is its text for those who do not see it, `name` its heading (plain text; may be empty), `said` what its value is
    said to be of, where that is not the heading. `whole`: the whole picture instead of the part that the network saw, of
    which `explanation` knows the place.
    """

    name: str
    alt: str
    kind: Literal["overlay", "map", "picture"]
    explanation: Explanation | None = None
    scale: Scale | None = None
    whole: bool = False
    said: str = ""


class Drawing(NamedTuple):
    """What is drawn on a picture: a box in its pixels, and which of its pixels (height, width) are painted; None where
    nothing is."""

    box: Box | None = None
    mask: NDArray[np.bool_] | None = None


class _Drawn(NamedTuple):
    """The last drawing on the panels that are linked: its picture, its number, and what was sent."""

    picture: str
    number: int = 0
    box: list[int] | None = None
    painted: dict[str, Any] | None = None


def show(
    picture: Image.Image,
    panels: Sequence[Panel],
    key: str,
    *,
    linked: str,
    width: int = 296,
    smooth: bool = True,
    bar: bool = True,
    sliders: bool = True,
    tools: Sequence[Tool] = (),
    tool: Tool | Literal["move"] = "move",
    box: Box | None = None,
    on_drawn: Callable[[Drawing], None] | None = None,
    whole_page: bool = False,
) -> Drawing:
    """Draw panels of a picture, each `width` pixels wide, in rows that wrap, and return what is drawn on them.

    bar         with the controls: of the zoom, with `sliders` those of the map, and the tools; they may stand alone
    tools       what can be drawn, and what dragging does first
    box         the box that the page knows, where the visitor has typed one
    on_drawn    called with what is drawn, when it changes; `whole_page` then runs the page again, not the fragment alone
    """
    if whole_page and st.session_state.pop(f"{key} changed", False):
        st.rerun()
    digest = array_digest(np.asarray(picture))

    def take() -> None:
        sent = st.session_state[key].get("drawn")
        if isinstance(sent, Mapping) and sent.get("picture") == digest and type(sent.get("number")) is int:
            drawn = _Drawn(digest, sent["number"], _box(sent.get("box"), picture.size), _painted(sent.get("painted")))
            st.session_state[f"drawn on {linked}"] = drawn
            st.session_state[f"{key} changed"] = True
            if on_drawn is not None:
                on_drawn(selection(picture, linked))

    def take_shares() -> None:  # into the address as the server knows it, so that no later change of it takes them away
        sent = st.session_state[key].get("shares")
        for name, value in sent.items() if isinstance(sent, Mapping) else ():
            if name in _MOST and type(value) in (int, float) and 0 <= value <= _MOST[name]:
                st.query_params[name] = f"{value:g}"

    known = _known(linked, digest)
    content = {
        "linked": linked, "id": digest, "size": picture.size, "width": width, "smooth": smooth,
        "bar": bar, "sliders": sliders, "tools": list(tools), "tool": tool,
        "opacity": opacity(), "threshold": threshold(),
        "number": known.number, "painted": known.painted,
        "box": known.box if box is None else [round(edge) for edge in box],
        "mask": _mask_size(picture.size),
        "picture": _address(_picture(picture, digest), "image/jpeg", key) if panels else "",
        "panels": [_panel(panel, picture, key) for panel in panels],
    }  # fmt: skip
    _draw(key=key, data=content, on_drawn_change=take, on_shares_change=take_shares, height="content")
    return selection(picture, linked)


def overlay(
    picture: Image.Image, explanation: Explanation, scale: Scale, alt: str, key: str, *,
    linked: str, width: int, smooth: bool, said: str, caption: str | None = "",
) -> None:  # fmt: skip
    """One map over the part of the picture that the network saw, without controls: they are `show(picture, [], ...)`.

    Below it is the button that adds it to the report, there with this caption, or with that of every map where it is empty;
    None: there is no button.
    """
    panel = Panel("", alt, "overlay", explanation, scale, said=said)
    show(picture, [panel], key, linked=linked, width=width, smooth=smooth, bar=False)

    def drawn() -> Image.Image:
        seen, part = rendering.seen_part(explanation, picture, 2 * width)
        layers = rendering.overlay(seen, part, scale, opacity=opacity(), threshold=threshold(), smooth=smooth)
        return rendering.with_bar(layers, scale)

    if caption is not None:
        report_items.add_map(explanation, drawn, scale, f"the map {said}", key, caption)


def selection(picture: Image.Image, linked: str) -> Drawing:
    """What is drawn on the panels of a picture that are `linked` by this word."""
    drawn = _known(linked, array_digest(np.asarray(picture)))
    box: Box | None = None
    if drawn.box is not None:
        left, top, right, bottom = map(float, drawn.box)
        box = left, top, right, bottom
    mask = None if drawn.painted is None else _mask(drawn.painted, picture.size)
    return Drawing(box, mask)


def opacity() -> float:
    """The opacity of overlays that the page's address holds. Only while a page runs."""
    return _share("opacity", OPACITY)


def threshold() -> float:
    """The share of the colour scale below which overlays are hidden, that the page's address holds. While a page runs."""
    return _share("threshold", 0.0)


def _share(name: str, usual: float) -> float:
    try:
        value = float(st.query_params.get(name, usual))
    except ValueError:
        return usual
    return value if 0 <= value <= _MOST[name] else usual


def _known(linked: str, digest: str) -> _Drawn:
    drawn = st.session_state.get(f"drawn on {linked}")
    return drawn if isinstance(drawn, _Drawn) and drawn.picture == digest else _Drawn(digest)


def _picture(picture: Image.Image, digest: str) -> bytes:
    """The picture as JPEG; the last one is kept, as many panels show it."""
    kept: tuple[str, bytes] = st.session_state.get("picture of panels", ("", b""))
    if kept[0] != digest:
        kept = digest, _encoded(picture)
        st.session_state["picture of panels"] = kept
    return kept[1]


def _encoded(picture: Image.Image) -> bytes:
    factor = min(1.0, LONGEST / max(picture.size))
    size = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
    return rendering.encoded(picture if size == picture.size else picture.resize(size, Image.Resampling.LANCZOS))


def _address(file: bytes, kind: str, key: str) -> str:
    return browser_component.address_of(file, kind, key)


def _panel(panel: Panel, picture: Image.Image, key: str) -> dict[str, Any]:
    """What the browser draws of a panel. Colours are those of 256 steps of the palette, as matplotlib has them."""
    explanation, scale = panel.explanation, panel.scale
    whole = (0.0, 0.0, float(picture.width), float(picture.height))
    frame = whole
    if explanation is not None and not panel.whole:
        left, top, right, bottom = explanation.box
        frame = max(left, 0.0), max(top, 0.0), min(right, whole[2]), min(bottom, whole[3])
    said = panel.said or panel.name
    drawn: dict[str, Any] = {
        "name": panel.name,
        "said": said,
        "alt": panel.alt,
        "kind": panel.kind,
        "frame": frame,
        "map": None,
    }
    if panel.kind != "picture" and explanation is not None and scale is not None:
        values = np.ascontiguousarray(explanation.heatmap, "<f4")
        drawn["map"] = {
            "values": _address(values.tobytes(), "application/octet-stream", key),
            "grid": values.shape, "box": explanation.box, "low": scale.low, "high": scale.high, "signed": scale.signed,
            "colours": base64.b64encode(scale.palette_colours().tobytes()).decode(),
        }  # fmt: skip
    return drawn


def _box(sent: object, size: tuple[int, int]) -> list[int] | None:
    """A box in the pixels of a picture of this size, if what was sent is one."""
    if not isinstance(sent, list) or len(sent) != 4 or any(type(edge) is not int for edge in sent):
        return None
    left, top, right, bottom = sent
    return sent if 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1] else None


def _mask_size(size: tuple[int, int]) -> tuple[int, int]:
    """Columns and rows of the grid of a painted region."""
    factor = min(1.0, MASK / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _painted(sent: object) -> dict[str, Any] | None:
    """A painted region as it is sent: the size of its grid, and the lengths of runs of cells, row by row, the first of cells
    that are not painted. None where nothing is painted, or where it is no such region."""
    if not isinstance(sent, Mapping) or not isinstance(sent.get("size"), list) or not isinstance(sent.get("runs"), list):
        return None
    size, runs = sent["size"], sent["runs"]
    numbers = [*size, *runs]
    if len(size) != 2 or any(type(number) is not int or not 0 <= number <= MASK * MASK for number in numbers):
        return None
    fits = min(size) > 0 and max(size) <= MASK and sum(runs) == size[0] * size[1]
    return {"size": size, "runs": runs} if fits and any(runs[1::2]) else None


def _mask(painted: Mapping[str, Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(height, width) bool: the pixels of a picture of this size whose cell of the grid is painted."""
    (columns, rows), runs = painted["size"], painted["runs"]
    cells = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(rows, columns)
    down = (np.arange(size[1]) + 0.5) / size[1] * rows
    across = (np.arange(size[0]) + 0.5) / size[0] * columns
    mask: NDArray[np.bool_] = cells[down.astype(int)][:, across.astype(int)]
    return mask
