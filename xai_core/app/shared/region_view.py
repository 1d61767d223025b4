"""The region that turns or keeps an answer, on pages: found in the cache, searched with a bar or in a job, and shown."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import streamlit as st
import torch

from xai_core.app.shared import cache, display, network_outputs
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.page_work import Part
from xai_core.core import markdown, runtime
from xai_core.core.errors import XaiError
from xai_core.core.options import check_options
from xai_core.core.runtime import Track
from xai_core.data.label_matching import first_name
from xai_core.data.preprocessing import Prepared
from xai_core.explanation import rendering
from xai_core.explanation.request import Request
from xai_core.explanation.targets import ClassLogit
from xai_core.failures.deciding_regions import DecidingRegion, flip_region, keep_region
from xai_core.failures.hiding import hider
from xai_core.models.explainable import ExplainableModel

HIDE = "Hide a region"  # on the page Single image, the view of its section that shows regions
WIDTH = 264  # pixels: of a shown picture
TITLES = {"flip": "Smallest region that turns the answer", "keep": "Smallest region that keeps the answer"}


class Search(NamedTuple):
    """A region that is asked for: `wanted` is the class that the answer is to become, None for the one that it has."""

    model: ExplainableModel
    prepared: Prepared
    wanted: int | None
    options: Mapping[str, Any]

    @property
    def goal(self) -> str:
        return "keep" if self.wanted is None else "flip"

    @property
    def title(self) -> str:
        return TITLES[self.goal]

    @property
    def key(self) -> str:
        target = None if self.wanted is None else ClassLogit((self.wanted,))
        return Request(self.model, (self.prepared,), target, f"{self.goal} region", self.options).key

    @property
    def kind(self) -> tuple[str, str]:
        """The kind of work whose ratio of real to estimated time is learnt."""
        return f"{self.goal} region", self.model.id


def usual_search(model: ExplainableModel, prepared: Prepared, wanted: int | None) -> Search:
    """The search with the usual options."""
    return Search(model, prepared, wanted, check_options(flip_region, {}))


def find(search: Search) -> DecidingRegion | XaiError | None:
    """The stored result, or the error that the search ended with; None if it was not made."""
    result: DecidingRegion | XaiError | None = cache.get(search.key)
    return result


def parts(searches: Sequence[Search]) -> list[Part]:
    """The searches that are not made yet, as parts of a page's work."""
    return [_part(search) for search in searches if find(search) is None]


def _part(search: Search) -> Part:
    seconds = network_outputs.pass_seconds(search.model, search.options["passes"])
    corrected = network_outputs.pass_times().corrected(search.kind, seconds)
    return Part(search.title, corrected, lambda track: find(search) or _stored(search, track))


def _stored(search: Search, track: Track) -> DecidingRegion | XaiError:
    """The result of the search, after storing it. All passes take about as long: the ratio is that of their number."""
    result: DecidingRegion | XaiError
    image, options = search.prepared.pixels, search.options
    steps = over_the_limit(track, math.ceil(options["passes"] / runtime.inner_batch(image[0].numel(), search.model.device)))
    try:
        if search.wanted is None:
            result = keep_region(search.model, image, **options, track=steps)
        else:
            result = flip_region(search.model, image, search.wanted, **options, track=steps)
        network_outputs.pass_times().learn(search.kind, options["passes"], result.passes)
    except XaiError as error:
        result = error
    cache.put(search.key, result)
    return result


def over_the_limit(track: Track, batches: int) -> Track:
    """One progress for all steps of a search: over the batches that its limit of passes takes. A step's last batch is not
    full, so that there may be more of them: these are tracked one by one."""
    steps = iter(track(range(batches)))

    def step(items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            if next(steps, None) is None:
                list(track([item]))
            yield item

    return step


def show(search: Search) -> None:
    """The stored result of a search: the region outlined, what the network was shown without it, and what it answers."""
    result = find(search)
    if isinstance(result, XaiError):
        st.error(error_text(result))
    elif result is not None:
        _region(search, result)


def _region(search: Search, region: DecidingRegion) -> None:
    def name(index: int) -> str:
        return first_name(search.model.class_name(index))

    st.markdown(f"**{search.title}**")
    words = region.in_words(name)
    if region.after is None:
        st.info(f"{markdown.escape(words)} {_advice(region)}".strip())
        return
    st.markdown(markdown.escape(words))
    mask = torch.from_numpy(region.mask)
    hidden = hider(search.prepared.pixels[None], region.hiding)((mask if region.goal == "flip" else ~mask)[None])[0]
    pictures = {
        "The region, outlined": rendering.outlined(search.prepared.pixels, region.mask, 2 * WIDTH),
        f"What the network was shown; it answers {name(region.after.answer)}": rendering.to_pil(hidden).resize(
            (2 * WIDTH, 2 * WIDTH)
        ),
    }
    made = f"{region.passes} passes of the network; hidden parts show: {HIDINGS[region.hiding]}; seed {region.seed}."
    with st.container(horizontal=True, gap="small"):
        for title, picture in pictures.items():
            with st.container(width=WIDTH):
                display.picture(
                    picture, f"{title}. {words}", caption=f"{search.title}. {title}. {words} {made}",
                    what=f"{search.title}, {title}", key=f"{search.goal} {title}", width="stretch",
                )  # fmt: skip
                st.caption(markdown.escape(title))
    st.caption(markdown.escape(made))


HIDINGS = {
    "blur": "the picture's blur",
    "mean": "the picture's mean colour",
    "inpainted": "an estimate from the pixels around them",
}


def _advice(region: DecidingRegion) -> str:
    return "Allow more passes, or choose fewer segments." if region.state == "not found" else ""
