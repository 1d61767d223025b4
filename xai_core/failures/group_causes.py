"""What causes the errors of a group: maps of one half of its errors suggest a region, and it is hidden in the other half.

Two claims can be tested:

one place            'what stands at this place causes errors': the region is where the mean map of the first half is
                     highest, and the same in every tested picture
each picture's own   'what the maps mark causes errors, wherever it is': the region of a tested picture is where its own map
                     is highest. The map is made before anything is hidden; but this says that the method marks what counts
                     in these pictures, not that they share it

In both, random regions of the same shape are hidden in the same pictures (`xai_core.failures.causes`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_core.attribution.catalog import METHODS
from xai_core.attribution.explain import explain
from xai_core.core.errors import BadRequest, UnknownName
from xai_core.core.runtime import Track
from xai_core.data.preprocessing import stack
from xai_core.explanation.question import Question
from xai_core.explanation.targets import ClassLogit
from xai_core.failures.causes import CauseTest, cause_test, common_region
from xai_core.failures.halves import halves
from xai_core.failures.hiding import HIDINGS
from xai_core.failures.plan import PlannedAction
from xai_core.models.explainable import ExplainableModel, Picture
from xai_core.models.outputs import top_classes

ONE_PLACE, OWN = PLACES = ("one place", "each picture's own")
USUAL_METHODS = ("refine_cam", "hires_cam", "saliency")  # of the cheap ones, by docs/leaderboard.md; the first that fits
SHARE = 0.05  # of the picture that a region has
FEWEST = 5  # errors on each half
MOST_ERRORS, MOST_RIGHT = 100, 50  # on each half; in the test
Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class GroupCause:
    """A region that the maps of some errors suggest, and what hiding it does to others.

    found      places (in the group's pictures) of the errors whose maps suggest the region
    tested     places of the tested pictures, errors first: `test.pictures["picture"]` counts along them
    mean_map   (H, W), of the maps of `found`, each divided by its largest absolute value; None where nothing is tested
    regions    (tested, H, W), bool; None where nothing is tested
    test       None where nothing is tested
    reasons    sentences: why nothing is tested
    settings   method, share, where, controls, seed
    """

    found: Places
    tested: Places
    mean_map: Tensor | None
    regions: Tensor | None
    test: CauseTest | None
    reasons: tuple[str, ...]
    settings: dict[str, str | float] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """Where the region is, in words; "" where each picture has its own, or nothing is tested."""
        if self.regions is None or self.mean_map is None or self.settings["region"] == OWN:
            return ""
        height, width = self.mean_map.shape
        down, across = divmod(int(self.mean_map.argmax()), width)
        return (
            f"The region is {self.regions[0].double().mean():.0%} of the picture; the mean map is highest at "
            f"{(across + 0.5) / width:.0%} of the width from the left and {(down + 0.5) / height:.0%} of the height from "
            "the top."
        )

    @property
    def mended(self) -> Places:
        """Places of the tested errors that hiding the region mends, by the first hiding."""
        if self.test is None:
            return np.zeros(0, np.int64)
        rows = self.test.pictures
        rows = rows[rows["hiding"] == self.test.verdicts["hiding"].iloc[0]]
        mended: Places = self.tested[rows.loc[rows["wrong"] & (rows["region"] > 0), "picture"].to_numpy(np.int64)]
        return mended


def usual_method(model: ExplainableModel) -> str:
    """The method whose maps suggest regions for this model, if no other is chosen. Raises BadRequest where none fits."""
    for name in USUAL_METHODS:
        if METHODS[name].misfit(model) is None:
            return name
    raise BadRequest("No cheap method fits this model; choose a method.")


def group_sample(true: Sequence[str], predicted: Sequence[str], members: Places, seed: int = 0) -> Places:
    """Which predictions to look at for a group with these `members` (places): its errors, at most MOST_ERRORS for each half,
    then at most MOST_RIGHT right ones, drawn at random. A group without right ones is compared with those of its errors'
    classes outside."""
    labels, wrong = np.asarray(true), np.asarray(true) != np.asarray(predicted)
    inside = np.zeros(len(wrong), bool)
    inside[members] = True
    right = inside & ~wrong
    if not right.any():
        right = ~wrong & np.isin(labels, labels[inside & wrong])
    draws = np.random.default_rng(seed)
    parts = []
    for chosen, most in ((inside & wrong, 2 * MOST_ERRORS), (right, MOST_RIGHT)):
        places = np.flatnonzero(chosen)
        parts.append(places if len(places) <= most else np.sort(draws.choice(places, most, replace=False)))
    return np.concatenate(parts)


def group_cause(
    model: ExplainableModel,
    pictures: Sequence[Picture],
    true_classes: Sequence[int | str],
    *,
    method: str | None = None,
    share: float = SHARE,
    where: str = ONE_PLACE,
    hidings: Sequence[str] = HIDINGS,
    controls: int = 5,
    seed: int = 0,
    track: Track = iter,
) -> GroupCause:
    """Find a region on one half of the errors among `pictures`, and test it on the other half; the pictures that are
    answered correctly are tested too, for what the region's hiding breaks.

    Maps explain the margin of the model's answer over the true class (over the next best class, where that is right), by
    `method` (None: `usual_method`). `track` wraps the blocks of the test. Raises BadRequest (UnknownName).
    """
    if where not in PLACES:
        raise UnknownName("kind of region", where, PLACES)
    method = method or usual_method(model)
    settings: dict[str, str | float] = {
        "method": method, "share": share, "region": where, "random regions": controls, "seed": seed
    }  # fmt: skip
    if len(pictures) != len(true_classes):
        raise BadRequest(f"There are {len(pictures)} pictures and {len(true_classes)} true classes; each picture needs one.")
    true = np.array([model.class_index(name) for name in true_classes], np.int64)
    answers, rivals = _answers(model, pictures, true)
    errors = np.flatnonzero(answers != true)
    if len(errors) < 2 * FEWEST:
        have = "no errors" if not len(errors) else "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        why = f"Nothing is tested: there are {have}; {FEWEST} are needed to find a region, and {FEWEST} others to test it."
        return GroupCause(errors[:0], errors[:0], None, None, None, (why,), settings)
    first, second = halves(len(errors), seed)
    found, tested = errors[first], np.concatenate([errors[second], np.flatnonzero(answers == true)])

    def maps(places: Places) -> Tensor:
        explanations = explain(
            model, [pictures[place] for place in places], method, target=answers[places].tolist(),
            rival=rivals[places].tolist(), seed=seed,
        )  # fmt: skip
        return torch.stack([torch.from_numpy(one.to_input()).float() for one in explanations])

    suggested = maps(found)
    largest = suggested.abs().amax((1, 2), keepdim=True).clamp(min=1e-12)
    mean_map = (suggested / largest).mean(0)
    if not suggested.any():
        why = "Nothing is tested: the maps are zero everywhere, so they suggest no region."
        return GroupCause(found, tested, mean_map, None, None, (why,), settings)
    if where == OWN:
        regions = torch.stack([own_region(one, share) for one in maps(tested)])
    else:
        regions = common_region(suggested, share).expand(len(tested), *mean_map.shape)
    test = cause_test(
        model, [pictures[place] for place in tested], true[tested].tolist(), regions,
        hidings=hidings, controls=controls, seed=seed, track=track,
    )  # fmt: skip
    return GroupCause(found, tested, mean_map, regions, test, (), settings)


def own_region(map: Tensor, share: float) -> Tensor:
    """(H, W), bool: the `share` of the pixels where a picture's map (H, W) is highest. A map that is zero everywhere marks
    some place, that counts against a claim about what maps mark as much as any other."""
    return common_region((map if map.any() else torch.ones_like(map))[None], share)


def _answers(model: ExplainableModel, pictures: Sequence[Picture], true: Places) -> tuple[Places, Places]:
    """The model's answer to each picture, and the class it is compared with: the true one, or the best other one."""
    question = Question(model, ClassLogit((0,)), model.network.cut_name(None))
    answers, rivals = [], []
    for start in range(0, len(pictures), 64):
        prepared = [model.prepare(picture) for picture in pictures[start : start + 64]]
        logits = question.outputs(stack(prepared, model.device)).logits
        best = top_classes(logits, 2).cpu().numpy()
        answers.append(best[:, 0])
        rivals.append(best[:, -1])
    if not answers:
        return true, true
    answer, rival = np.concatenate(answers), np.concatenate(rivals)
    return answer, np.where(answer != true, true, rival)


def actions(cause: GroupCause, group: str, paths: Sequence[str]) -> list[PlannedAction]:
    """What to do about a region that causes errors: nothing, unless every hiding says so. `group` is the group's title, and
    `paths` are the names of the pictures that `group_cause` was given."""
    if cause.test is None or not cause.test.causes:
        return []
    effects = cause.test.effects
    row = effects[effects["hidden"] == "region"].iloc[0]
    words = f"the region that the maps of {len(cause.found)} errors share"
    if cause.settings["region"] == OWN:
        words = "the region that each picture's map marks"
    broken = f" It breaks {row['broken']:.0f} of {row['right']} right ones." if row["right"] else ""
    estimate = (
        f"Measured on the model as it is, on errors that did not suggest the region; not on a model trained so.{broken}"
    )
    ordered = dict.fromkeys([*cause.mended, *cause.tested[: row["errors"]], *cause.found])
    names = tuple(paths[place] for place in ordered)
    settings, sentence = cause.settings, cause.test.sentence
    return [
        PlannedAction(
            "augment", f"Hide or vary {words} while training: {group}", sentence, estimate, names,
            settings=settings, about=group,
        ),
        PlannedAction(
            "collect", f"Collect pictures of other classes that show what stands in {words}: {group}", sentence, estimate,
            names, settings=settings, about=group,
        ),
    ]  # fmt: skip
