"""Whether a region that a group of pictures shares causes their errors: it is hidden, and the network is asked again.

Controls are regions of the same shape at random places, and the rest of the picture. The region must come from pictures
other than those that are tested (`xai_core.failures.halves`): a region that fits the tested pictures by chance would be
confirmed by them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest
from statsmodels.stats.proportion import proportion_confint
from torch import Tensor

from xai_core.core.errors import BadRequest
from xai_core.core.runtime import Track
from xai_core.data.preprocessing import stack
from xai_core.explanation.heatmaps import size_of
from xai_core.explanation.question import Question
from xai_core.explanation.targets import ClassLogit
from xai_core.failures.hiding import HIDINGS, hider
from xai_core.models.explainable import ExplainableModel, Picture
from xai_core.models.outputs import Outputs, top_classes

LEVEL = 0.05  # of McNemar's test, divided by the number of hidings
OVERLAP = 0.2  # share of the region that a random one may cover at most
TRIES = 10_000  # places drawn in search of random regions


@dataclass(frozen=True, eq=False)
class CauseTest:
    """What hiding a region does to the answers, beside random regions of its shape and the rest of the picture.

    pictures    a row for each picture and hiding: picture (its place), hiding, wrong (before); for region, rest and random,
                whether hiding it changes wrong to right or right to wrong (`random`: the share of the draws that does so,
                `first random`: the first draw), and by how much the margin falls (`region margin`): the logit of the answer
                before (of the best other class, where that is right) minus that of the true class
    effects     a row for each hiding and place: hiding, hidden, errors, mended, low, high (95%, Wilson; counts of errors;
                not a number for random regions, whose count is a mean over draws), right, broken, margin (mean over errors)
    verdicts    a row for each hiding: hiding, more, fewer (errors that hiding the region mends and the first random region
                does not; and the reverse), p (one-sided exact McNemar test), causes
    """

    pictures: pd.DataFrame
    effects: pd.DataFrame
    verdicts: pd.DataFrame

    @property
    def causes(self) -> bool:
        """Whether every hiding says that the region causes errors, more of them than random regions do."""
        return bool(self.verdicts["causes"].all())

    @property
    def sentence(self) -> str:
        """The result in words, by the first hiding, and whether the hidings disagree."""
        rows = self.effects[self.effects["hiding"] == self.verdicts["hiding"].iloc[0]].set_index("hidden")
        errors = int(rows.loc["region", "errors"])
        if not errors:
            return "Nothing is tested: none of these pictures is an error."
        region, random = rows.loc["region"], rows.loc["random"]
        counts = (
            f"{region['mended']:.0f} of {errors} errors ({region['low']:.0f} to {region['high']:.0f}), "
            f"hiding a random region of the same shape {random['mended']:.1f}"
        )
        if self.verdicts["causes"].nunique() > 1:
            names = ", ".join(self.verdicts.loc[self.verdicts["causes"], "hiding"])
            return f"Hiding the region mends {counts}. The ways of hiding disagree: it is a cause only by {names}."
        if self.causes:
            return f"The region causes errors: hiding it mends {counts}."
        return f"The region is not shown to cause errors: hiding it mends {counts}."


def common_region(maps: Tensor, share: float = 0.1) -> Tensor:
    """(H, W), bool: the `share` of the pixels that is highest in the mean of the maps (n, H, W), each divided by its largest
    absolute value. Raises BadRequest where there is no map or nothing in them."""
    if maps.ndim != 3 or not len(maps) or not 0 < share < 1:
        raise BadRequest("A common region needs maps (pictures, height, width) and a share between 0 and 1.")
    largest = maps.abs().amax((1, 2), keepdim=True)
    if not largest.any():
        raise BadRequest("The maps are zero everywhere; they have no common region.")
    mean = (maps / largest.clamp(min=1e-12)).mean(0)
    region = torch.zeros(mean.numel(), dtype=torch.bool)
    region[mean.flatten().argsort(descending=True, stable=True)[: max(1, round(share * mean.numel()))].cpu()] = True
    return region.reshape(mean.shape)


def random_regions(region: Tensor, number: int, seed: int = 0) -> Tensor:
    """(number, H, W): the region (H, W) moved to random places, where it covers at most OVERLAP of itself.

    Raises BadRequest where the region is empty, or too large to be moved.
    """
    places = region.nonzero()
    if not len(places):
        raise BadRequest("The region is empty; choose a larger one.")
    height, width = region.shape
    corner = places.amin(0)
    room = torch.tensor([height, width]) - (places.amax(0) - corner)
    draws = np.random.default_rng(seed)
    regions: list[Tensor] = []
    for _ in range(TRIES):
        if len(regions) == number:
            break
        moved = places - corner + torch.tensor([int(draws.integers(int(side))) for side in room])
        other = torch.zeros_like(region)
        other[moved[:, 0], moved[:, 1]] = True
        if (other & region).sum() <= OVERLAP * len(places):
            regions.append(other)
    if len(regions) < number:
        raise BadRequest(
            "The region is too large: it cannot be moved to a place that it does not cover; choose a smaller one."
        )
    return torch.stack(regions)


def cause_test(
    model: ExplainableModel,
    pictures: Sequence[Picture],
    true_classes: Sequence[int | str],
    region: Tensor,
    *,
    hidings: Sequence[str] = HIDINGS,
    controls: int = 5,
    seed: int = 0,
    track: Track = iter,
) -> CauseTest:
    """Hide the `region`, (H, W) or one for each picture (n, H, W), in the network's input frame, True inside.

    `controls` random regions are drawn for each picture. Raises BadRequest for what cannot be asked (UnknownName).
    """
    if not len(pictures) or len(pictures) != len(true_classes):
        raise BadRequest(f"There are {len(pictures)} pictures and {len(true_classes)} true classes; each picture needs one.")
    if controls < 1 or not hidings:
        raise BadRequest("A cause test needs at least one random region and one way of hiding.")
    regions = region.bool().cpu()
    regions = regions.expand(len(pictures), *regions.shape) if regions.ndim == 2 else regions
    true = [model.class_index(name) for name in true_classes]
    question = Question(model, ClassLogit((0,)), model.network.cut_name(None))
    rows = []
    for place in track(range(len(pictures))):
        image = stack([model.prepare(pictures[place])], model.device)
        if regions.shape != (wanted := (len(pictures), *size_of(image))):
            raise BadRequest(f"Regions must be {wanted}, as the network sees pictures; these are {tuple(regions.shape)}.")
        mask = regions[place]
        masks = torch.cat([mask[None], ~mask[None], random_regions(mask, controls, seed + place)])
        before = question.outputs(image).logits[0].float().cpu()
        answer = int(top_classes(before[None])[0, 0])
        others = before.clone()
        others[true[place]] = -torch.inf
        rival = answer if answer != true[place] else int(others.argmax())
        for hiding in hidings:
            shown = hider(image, hiding)(masks)
            right, margin = _asked(question, shown, true[place], rival)
            wrong = answer != true[place]
            changed = (right if wrong else ~right).astype(float)
            fall = float(before[rival] - before[true[place]]) - margin
            rows.append(
                {"picture": place, "hiding": hiding, "wrong": wrong,
                 "region": changed[0], "rest": changed[1], "random": changed[2:].mean(), "first random": changed[2],
                 "region margin": fall[0], "rest margin": fall[1], "random margin": fall[2:].mean()}
            )  # fmt: skip
    table = pd.DataFrame(rows)
    return CauseTest(table, _effects(table), _verdicts(table))


def _asked(question: Question, images: Tensor, true: int, rival: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Whether each picture is answered right, and its margin of the rival."""

    def read(outputs: Outputs, rows: range) -> Tensor:
        logits = outputs.logits.float().cpu().double()
        return torch.stack([top_classes(logits)[:, 0].double(), logits[:, rival] - logits[:, true]], 1)

    def some(rows: range) -> Tensor:
        return images[rows.start : rows.stop]

    scores = question.sweep_scores(some, read, len(images), size_of(images)).numpy()
    return scores[:, 0] == true, scores[:, 1]


def _effects(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for hiding, part in table.groupby("hiding", sort=False):
        wrong, right = part[part["wrong"]], part[~part["wrong"]]
        for hidden in ("region", "random", "rest"):
            mended, low, high = float(wrong[hidden].sum()), np.nan, np.nan
            if hidden != "random" and len(wrong):
                low, high = proportion_confint(mended, len(wrong), method="wilson")
            rows.append(
                {"hiding": hiding, "hidden": hidden, "errors": len(wrong), "mended": mended, "low": low * len(wrong),
                 "high": high * len(wrong), "right": len(right), "broken": float(right[hidden].sum()),
                 "margin": float(wrong[f"{hidden} margin"].mean()) if len(wrong) else np.nan}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _verdicts(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    level = LEVEL / table["hiding"].nunique()
    for hiding, part in table[table["wrong"]].groupby("hiding", sort=False):
        more, fewer = int((part["region"] > part["first random"]).sum()), int((part["region"] < part["first random"]).sum())
        p = float(binomtest(more, more + fewer, alternative="greater").pvalue) if more + fewer else 1.0
        rows.append({"hiding": hiding, "more": more, "fewer": fewer, "p": p, "causes": p < level})
    if not rows:
        rows = [{"hiding": name, "more": 0, "fewer": 0, "p": 1.0, "causes": False} for name in table["hiding"].unique()]
    return pd.DataFrame(rows)
