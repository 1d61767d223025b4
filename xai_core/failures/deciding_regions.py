"""The smallest region of a picture that decides the answer.

`flip_region` finds the smallest set of segments whose hiding turns the answer to the true class, or to any other wanted one
(SEDC-T: Vermeire et al., arXiv:2004.07511); `keep_region` the smallest set that keeps the predicted answer where everything
else is hidden.

Both search best-first: the set with the largest margin of the wanted class is extended by every segment. Segments that the
found set does not need are then removed one after the other, until removing any one of them undoes the effect. Passes that
are left are used to try all smaller sets, beginning with the smallest.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from math import comb
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_core.attribution.perturbation.segmentation import Count, Segmentation, segments_of
from xai_core.core import runtime
from xai_core.core.options import Range, check_options
from xai_core.core.runtime import Track
from xai_core.data.preprocessing import stack
from xai_core.explanation.heatmaps import size_of
from xai_core.explanation.question import Question
from xai_core.explanation.targets import ClassLogit
from xai_core.failures.hiding import Hider, Hiding, hider
from xai_core.models.explainable import ExplainableModel, Picture
from xai_core.models.outputs import Outputs, top_classes

Passes = Annotated[int, Range(20, 100_000), "number of passes after which the search ends"]
Goal = Literal["flip", "keep"]
RegionState = Literal["found", "not found", "nothing to find"]
Segments = frozenset[int]
_EFFECT = {"flip": "turns the answer to the wanted class", "keep": "keeps the predicted answer"}


class RegionAnswer(NamedTuple):
    """What the network answers to a picture: its class, and the probabilities of two classes.

    true    the probability of the true class; None where no true class was given
    """

    answer: int
    predicted: float
    true: float | None


@dataclass(frozen=True, eq=False)
class DecidingRegion:
    """The region of one picture that turns or keeps the answer, or why there is none.

    goal            flip: hiding the region turns the answer to the wanted class; keep: the region alone keeps the answer
    wanted          the class that the answer is to be: flip: the given one; keep: the predicted one
    state, reason   found; not found (within the passes, or in any set); nothing to find. The reason is a sentence
    segments        the numbers of the region's segments, rising; empty where none was found
    mask            (h, w), True inside the region
    share           size of the region as a share of the picture
    smaller_tried   every set of fewer segments than this was tried, and none has the effect
    before, after   the answers to the picture, and to the picture with the region hidden (keep: with all else hidden)
    passes          number of pictures that the network was shown
    of              number of segments of the picture
    """

    goal: Goal
    wanted: int
    state: RegionState
    reason: str
    segments: tuple[int, ...]
    mask: NDArray[np.bool_] = field(repr=False)
    smaller_tried: int
    before: RegionAnswer
    after: RegionAnswer | None
    passes: int
    of: int
    hiding: str
    seed: int

    @property
    def share(self) -> float:
        return float(self.mask.mean())

    @property
    def smallest(self) -> bool:
        """Whether it is known that no smaller set of segments has the effect."""
        return self.state == "found" and self.smaller_tried == len(self.segments)

    @property
    def nbytes(self) -> int:
        return self.mask.nbytes

    def in_words(self, class_name: Callable[[int], str]) -> str:
        """What the region does, or why there is none, in sentences: 'Hiding these 3 of 60 segments (5% of the picture) turns
        tabby (81%) to tiger cat (52%).' The percentages behind classes are their probabilities."""
        predicted, wanted = class_name(self.before.answer), class_name(self.wanted)
        if self.after is None:
            return f"Towards {wanted}: {self.reason}" if self.goal == "flip" else self.reason
        one, count = len(self.segments) == 1, f"{len(self.segments)} of {self.of}"
        these = f"{count} segments" if one else f"these {count} segments"
        size = f"({_percent(self.share)} of the picture)"
        before = _percent(self.before.predicted)
        if self.goal == "flip":
            after = _percent(self.after.true or 0.0)
            effect = f"Hiding {these} {size} turns {predicted} ({before}) to {wanted} ({after})."
        else:
            after, verb = _percent(self.after.predicted), "keeps" if one else "keep"
            effect = (
                f"{these[0].upper()}{these[1:]} {size} {verb} {predicted} ({before}) where all else is hidden ({after})."
            )
        needed = "" if one else " Without any one of them it does not." if self.goal == "flip" else _NEEDED
        return f"{effect}{needed} {_smallest_words(self.smallest)}"


def flip_region(
    model: ExplainableModel,
    picture: Picture,
    true_class: int | str,
    *,
    hiding: Hiding = "blur",
    segmentation: Segmentation = "slic",
    segments: Count = 50,
    passes: Passes = 500,
    seed: int = 0,
    parts: Tensor | None = None,
    track: Track = iter,
) -> DecidingRegion:
    """The smallest set of segments whose hiding turns the answer to the true class.

    Any class may stand in place of the true one. Removing any one segment from the region undoes this. `parts` (H, W) passes
    segments in; the seed orders segments whose margins are equal. Where nothing is found the state and its reason say so.
    Raises BadRequest for what cannot be asked (UnknownName, NoClassifier).
    """
    given = {"hiding": hiding, "segmentation": segmentation, "segments": segments, "passes": passes}
    options = _Options(**check_options(flip_region, given))
    scorer = _scorer(model, picture, "flip", model.class_index(true_class), options, seed, parts, track)
    if scorer.wanted == scorer.before.answer:
        return scorer.nothing("nothing to find", "The answer is the wanted class already.")
    return _deciding_region(scorer)


def keep_region(
    model: ExplainableModel,
    picture: Picture,
    true_class: int | str | None = None,
    *,
    hiding: Hiding = "blur",
    segmentation: Segmentation = "slic",
    segments: Count = 50,
    passes: Passes = 500,
    seed: int = 0,
    parts: Tensor | None = None,
    track: Track = iter,
) -> DecidingRegion:
    """The smallest set of segments that keeps the predicted answer where everything else is hidden.

    As `flip_region`; a true class is only needed for its probabilities.
    """
    given = {"hiding": hiding, "segmentation": segmentation, "segments": segments, "passes": passes}
    options = _Options(**check_options(keep_region, given))
    true = None if true_class is None else model.class_index(true_class)
    scorer = _scorer(model, picture, "keep", true, options, seed, parts, track)
    return _deciding_region(scorer)


class _Options(NamedTuple):
    hiding: str
    segmentation: str
    segments: int
    passes: int


class _Scored(NamedTuple):
    """What a set of segments does. `margin` is the logit of the wanted class minus the largest other one."""

    holds: bool
    margin: float
    answer: RegionAnswer


@dataclass(frozen=True, eq=False)
class _Scorer:
    """Scores sets of segments of one picture, within a number of passes, and remembers them in `seen`.

    order    the segments in the order of the seed's draw
    limit    the number of passes that may be used
    """

    goal: Goal
    question: Question
    size: tuple[int, int]
    hide: Hider
    where: Tensor
    order: tuple[int, ...]
    wanted: int
    predicted: int
    true: int | None
    before: RegionAnswer
    limit: int
    hiding: str
    seed: int
    track: Track
    seen: dict[Segments, _Scored] = field(default_factory=dict)

    @property
    def left(self) -> int:
        return self.limit - self.question.tally.forward

    def __call__(self, sets: Sequence[Segments]) -> list[_Scored]:
        """All sets, scored anew: one pass each."""
        inside = torch.zeros(len(sets), len(self.order), dtype=torch.bool)
        for row, chosen in enumerate(sets):
            inside[row, list(chosen)] = True

        def pictures(rows: range) -> Tensor:
            regions = inside[rows.start : rows.stop][:, self.where]
            return self.hide(regions if self.goal == "flip" else ~regions)

        def read(outputs: Outputs, rows: range) -> Tensor:
            return _facts(outputs.logits, self.wanted, self.predicted, self.true)

        rows = self.question.sweep_scores(pictures, read, len(sets), self.size, self.track).tolist()
        scored = [
            _Scored(int(answer) == self.wanted, margin, _answer(answer, predicted, true, self.true))
            for answer, margin, predicted, true in rows
        ]
        self.seen.update(zip(sets, scored, strict=True))
        return scored

    def best(self, sets: Sequence[Segments]) -> Segments | None:
        """The seen set with the largest margin of those that have the effect; of equal ones the first."""
        holding = [chosen for chosen in sets if self.seen[chosen].holds]
        return max(holding, key=lambda chosen: self.seen[chosen].margin, default=None)

    def nothing(self, state: RegionState, reason: str) -> DecidingRegion:
        """The result without a region."""
        return DecidingRegion(
            goal=self.goal,
            wanted=self.wanted,
            state=state,
            reason=reason,
            segments=(),
            mask=np.zeros(self.size, dtype=bool),
            smaller_tried=0,
            before=self.before,
            after=None,
            passes=self.question.tally.forward,
            of=len(self.order),
            hiding=self.hiding,
            seed=self.seed,
        )


def _scorer(
    model: ExplainableModel,
    picture: Picture,
    goal: Goal,
    true: int | None,
    options: _Options,
    seed: int,
    parts: Tensor | None,
    track: Track,
) -> _Scorer:
    image = stack([model.prepare(picture)], model.device)
    where = segments_of(image[0], options.segmentation, options.segments, parts, 0)
    number = int(where.max()) + 1
    question = Question(model, ClassLogit((0,)), model.network.cut_name(None))
    with torch.no_grad():
        outputs = question.outputs(image)
        logits = outputs.logits
        ClassLogit((true or 0,))(outputs)  # raises BadRequest where there is no such class
    predicted = int(top_classes(logits)[0, 0])
    wanted = true if goal == "flip" and true is not None else predicted
    ((answer, _, of_predicted, of_true),) = _facts(logits, wanted, predicted, true).tolist()
    return _Scorer(
        goal=goal,
        question=question,
        size=size_of(image),
        hide=hider(image, options.hiding),
        where=where,
        order=tuple(runtime.uniform_draw(seed, 0, (number,)).argsort().tolist()),
        wanted=wanted,
        predicted=predicted,
        true=true,
        before=_answer(answer, of_predicted, of_true, true),
        limit=options.passes,
        hiding=options.hiding,
        seed=seed,
        track=track,
    )


def _facts(logits: Tensor, wanted: int, predicted: int, true: int | None) -> Tensor:
    """(n, 4), float64 on the CPU: the answer, the wanted class's margin, and the probabilities of the predicted class and of
    the true one (of the predicted one again where no true class is known)."""
    logits = logits.float().cpu().double()
    others = logits.clone()
    others[:, wanted] = -torch.inf
    margin = (logits[:, wanted] - others.amax(1)).nan_to_num(-torch.inf, torch.inf, -torch.inf)
    probabilities = logits.softmax(1)
    other = predicted if true is None else true
    return torch.stack([top_classes(logits)[:, 0], margin, probabilities[:, predicted], probabilities[:, other]], 1)


def _answer(answer: float, predicted: float, probability: float, true: int | None) -> RegionAnswer:
    return RegionAnswer(int(answer), predicted, None if true is None else probability)


def _deciding_region(scorer: _Scorer) -> DecidingRegion:
    (start,) = scorer([frozenset()])
    if start.holds:
        reason = "The answer is the same with the whole picture hidden."
        if scorer.goal == "flip":
            reason = "The answer is the wanted class already, within the rounding of two passes."
        return scorer.nothing("nothing to find", reason)
    region = _searched(scorer)
    if region is None:
        every = len(scorer.seen) == 2 ** len(scorer.order)
        which = "No set of segments" if every else f"Within {scorer.limit} passes no set of segments was found that"
        return scorer.nothing("not found", f"{which} {_EFFECT[scorer.goal]}.")
    checked = _pruned(scorer, region)
    if isinstance(checked, str):
        return scorer.nothing("not found", checked)
    smaller, tried = _smaller(scorer, len(checked))
    if smaller is not None:
        again = _pruned(scorer, smaller)
        checked = checked if isinstance(again, str) else again
        tried = min(tried, len(checked))
    share = _smallest_words(tried == len(checked))
    act = "Hiding this region" if scorer.goal == "flip" else "This region alone"
    mask = torch.isin(scorer.where, torch.tensor(sorted(checked))).numpy()
    return replace(
        scorer.nothing("found", f"{act} {_EFFECT[scorer.goal]}; without any one of its segments it does not. {share}"),
        segments=tuple(sorted(checked)),
        mask=mask,
        smaller_tried=tried,
        after=scorer.seen[checked].answer,
    )


_NEEDED = " Without any one of them they do not."


def _smallest_words(smallest: bool) -> str:
    return "It is the smallest such set." if smallest else "Smaller sets may exist: not all were tried."


def _percent(share: float) -> str:
    """'5%', '0.4%', 'under 0.1%', and 'over 99.9%': what is neither none nor all is not called so."""
    if 0 < share < 0.001 or 0.999 < share < 1:
        return "under 0.1%" if share < 0.5 else "over 99.9%"
    return f"{share:.1%}" if share < 0.01 or share > 0.99 else f"{share:.0%}"


def _searched(scorer: _Scorer) -> Segments | None:
    """A set that has the effect, by best-first search; None where the passes or the sets are used up."""
    turn = 0
    waiting: list[tuple[float, int, Segments]] = [(0.0, turn, frozenset())]
    while waiting and scorer.left > 0:
        _, _, best = heapq.heappop(waiting)
        longer = [best | {segment} for segment in scorer.order if segment not in best]
        fresh = [chosen for chosen in longer if chosen not in scorer.seen][: scorer.left]
        if not fresh:
            continue
        scored = scorer(fresh)
        region = scorer.best(fresh)
        if region is not None:
            return region
        for chosen, score in zip(fresh, scored, strict=True):
            turn += 1
            heapq.heappush(waiting, (-score.margin, turn, chosen))
    return None


def _pruned(scorer: _Scorer, region: Segments) -> Segments | str:
    """The region without segments that it does not need, or why this is not known.

    Every round scores the region and all sets with one segment fewer anew. The last round shows that the region has the
    effect and that none of these sets has it.
    """
    while True:
        fewer = [region - {segment} for segment in scorer.order if segment in region]
        if len(fewer) + 1 > scorer.left:
            return (
                f"A set of {len(region)} segments {_EFFECT[scorer.goal]}, but {scorer.limit} passes do not suffice to find "
                "out whether it needs all of them; allow more passes."
            )
        scorer([region, *fewer])
        shorter = scorer.best(fewer)
        if shorter is not None:
            region = shorter
        elif scorer.seen[region].holds:
            return region
        else:
            return f"A set of {len(region)} segments {_EFFECT[scorer.goal]} in one pass and not in another: it is a tie."


def _smaller(scorer: _Scorer, size: int) -> tuple[Segments | None, int]:
    """A set of fewer segments that has the effect, of the smallest possible size, and the size below which all were tried.

    Sizes whose sets are more than the passes that are left (less those that a last check needs) are not begun.
    """
    for count in range(1, size):
        if comb(len(scorer.order), count) - len(scorer.seen) > scorer.left - size:
            return None, count
        sets = [frozenset(chosen) for chosen in combinations(scorer.order, count)]
        fresh = [chosen for chosen in sets if chosen not in scorer.seen]
        if fresh and len(fresh) > scorer.left - size:
            return None, count
        if fresh:
            scorer(fresh)
        region = scorer.best(sets)
        if region is not None:
            return region, count
    return None, size
