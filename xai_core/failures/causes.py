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
from torch import Tensor

from xai_core.core.errors import BadRequest
from xai_core.core.runtime import Track
from xai_core.data.preprocessing import stack
from xai_core.evaluation.significance import estimates
from xai_core.explanation.heatmaps import size_of
from xai_core.explanation.question import Question, unravel
from xai_core.explanation.targets import ClassLogit
from xai_core.failures.hiding import HIDINGS, hider
from xai_core.models.explainable import ExplainableModel, Picture
from xai_core.models.outputs import Outputs, top_classes

LEVEL = 0.05  # of the test, divided by the number of hidings
HIDDEN = ("region", "random", "rest")
OVERLAP = 0.2  # share of the region that a random one may cover at most
_BLOCK = 8  # pictures that are hidden and asked about at once


@dataclass(frozen=True, eq=False)
class CauseTest:
    """What hiding a region does to the answers, beside random regions of its shape and the rest of the picture.

    pictures    a row for each picture and hiding: picture (its place), hiding, wrong (before); for region, rest and random,
                whether hiding it changes wrong to right or right to wrong (`random`: the share of the draws that does so),
                and by how much the margin falls (`region margin`): the logit of the answer before (of the best other class,
                where that is right) minus that of the true class
    effects     a row for each hiding and place: hiding, hidden, errors, mended, low, high (counts of errors, 95%: Wilson; of
                random regions, whose count is a mean over draws, bootstrap over pictures), right, broken, margin (mean over
                errors), margin low, margin high (bootstrap)
    verdicts    a row for each hiding: hiding; more, low, high: the share of the errors that hiding the region mends minus
                that of random regions, paired, bootstrap over pictures (95%); more margin, margin low, margin high: the same
                of the margin; p (one-sided exact test that the region is as one of the random ones), causes (p is below
                0.05, corrected for the number of hidings)
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
            f"hiding a random region of the same shape {random['mended']:.1f} ({random['low']:.1f} to {random['high']:.1f})"
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

    It stays whole where there are so many places in the frame; a region that is spread over the picture is moved across its
    edges, and what leaves on one side enters on the other. Raises BadRequest where the region is empty, or too large to be
    moved.
    """
    places = region.nonzero()
    if not len(places):
        raise BadRequest("The region is empty; choose a larger one.")
    size = torch.tensor(region.shape)
    spectrum = torch.fft.fft2(region.double())
    covered = torch.fft.ifft2(spectrum.abs() ** 2).real.round()  # of the region by itself, after each move across the edges
    free = covered <= OVERLAP * len(places)
    inside = torch.zeros_like(free)
    up, left = places.amin(0).tolist()
    down, right = (size - places.amax(0)).tolist()
    inside[(torch.arange(-up, down) % size[0])[:, None], torch.arange(-left, right) % size[1]] = True
    moves = (free & inside).nonzero()
    if len(moves) < number:
        moves = free.nonzero()
    if not len(moves):
        raise BadRequest(
            "The region is too large: it cannot be moved to a place that it does not cover; choose a smaller one."
        )
    drawn = np.random.default_rng(seed).choice(len(moves), number, replace=len(moves) < number)
    return torch.stack([region.roll(tuple(moves[one].tolist()), (0, 1)) for one in drawn])


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

    `controls` random regions are drawn for each picture. `track` wraps the list of blocks of pictures. Raises BadRequest for
    what cannot be asked (UnknownName).
    """
    if not len(pictures) or len(pictures) != len(true_classes):
        raise BadRequest(f"There are {len(pictures)} pictures and {len(true_classes)} true classes; each picture needs one.")
    if controls < 1 or not hidings:
        raise BadRequest("A cause test needs at least one random region and one way of hiding.")
    regions = region.bool().cpu()
    regions = regions.expand(len(pictures), *regions.shape) if regions.ndim == 2 else regions
    true = np.array([model.class_index(name) for name in true_classes])
    question = Question(model, ClassLogit((0,)), model.network.cut_name(None))
    tables = []
    for start in track(range(0, len(pictures), _BLOCK)):
        block = range(start, min(start + _BLOCK, len(pictures)))
        images = stack([model.prepare(pictures[place]) for place in block], model.device)
        if regions.shape != (wanted := (len(pictures), *size_of(images))):
            raise BadRequest(f"Regions must be {wanted}, as the network sees pictures; these are {tuple(regions.shape)}.")
        masks = torch.stack(
            [
                torch.cat(
                    [regions[place][None], ~regions[place][None], random_regions(regions[place], controls, seed + place)]
                )
                for place in block
            ]
        )
        tables += [_tested(question, images, masks, true[block.start : block.stop], block, hiding) for hiding in hidings]
    table = pd.concat(tables, ignore_index=True)
    return CauseTest(table, _effects(table, seed), _verdicts(table, controls, seed))


def _tested(
    question: Question, images: Tensor, masks: Tensor, true: NDArray[np.int64], places: range, hiding: str
) -> pd.DataFrame:
    """The rows of a block of images (b, 3, H, W), each with its masks (b, ways, H, W): the region, the rest, random ones."""
    before = question.outputs(images).logits.float().cpu().double()
    answers = top_classes(before)[:, 0].numpy()
    each = np.arange(len(true))
    others = before.clone()
    others[each, true] = -torch.inf
    rivals = np.where(answers != true, answers, others.argmax(1).numpy())
    hiders = [hider(image[None], hiding) for image in images]
    ways = masks.shape[1]

    def shown(rows: range) -> Tensor:
        which, way = unravel(rows, ways)
        return torch.cat([hiders[int(one)](masks[one, way[which == one]]) for one in which.unique()])

    def read(outputs: Outputs, rows: range) -> Tensor:
        which, _ = unravel(rows, ways)
        logits, row = outputs.logits.float().cpu().double(), torch.arange(len(rows))
        margin = logits[row, torch.from_numpy(rivals)[which]] - logits[row, torch.from_numpy(true)[which]]
        return torch.stack([top_classes(logits)[:, 0].double(), margin], 1)

    scores = question.sweep_scores(shown, read, len(images) * ways, size_of(images)).numpy().reshape(len(images), ways, 2)
    wrong = answers != true
    changed = ((scores[..., 0] == true[:, None]) == wrong[:, None]).astype(float)
    fall = (before[each, rivals] - before[each, true]).numpy()[:, None] - scores[..., 1]
    return pd.DataFrame(
        {"picture": np.array(places), "hiding": hiding, "wrong": wrong,
         "region": changed[:, 0], "rest": changed[:, 1], "random": changed[:, 2:].mean(1),
         "region margin": fall[:, 0], "rest margin": fall[:, 1], "random margin": fall[:, 2:].mean(1)}
    )  # fmt: skip


def _effects(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    from statsmodels.stats.proportion import proportion_confint

    rows = []
    for hiding, part in table.groupby("hiding", sort=False):
        wrong, right = part[part["wrong"]], part[~part["wrong"]]
        means = estimates(wrong[["random", *(f"{hidden} margin" for hidden in HIDDEN)]], seed)
        for hidden in HIDDEN:
            mended, margin = float(wrong[hidden].sum()), means[f"{hidden} margin"]
            low, high = means["random"].low, means["random"].high
            if hidden != "random" and len(wrong):
                low, high = proportion_confint(mended, len(wrong), method="wilson")
            rows.append(
                {"hiding": hiding, "hidden": hidden, "errors": len(wrong), "mended": mended, "low": low * len(wrong),
                 "high": high * len(wrong), "right": len(right), "broken": float(right[hidden].sum()),
                 "margin": margin.value, "margin low": margin.low, "margin high": margin.high}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _verdicts(table: pd.DataFrame, controls: int, seed: int) -> pd.DataFrame:
    rows = []
    level = LEVEL / table["hiding"].nunique()
    for hiding, part in table.groupby("hiding", sort=False):
        wrong = part[part["wrong"]]
        apart = pd.DataFrame(
            {name: wrong[f"region{name}"] - wrong[f"random{name}"] for name in ("", " margin")}, dtype=float
        )
        more, margin = estimates(apart, seed).values()
        p = as_many_by_chance(wrong["region"].to_numpy(), wrong["random"].to_numpy(), controls)
        rows.append(
            {"hiding": hiding, "more": more.value, "low": more.low, "high": more.high, "more margin": margin.value,
             "margin low": margin.low, "margin high": margin.high, "p": p, "causes": p < level}
        )  # fmt: skip
    return pd.DataFrame(rows)


def as_many_by_chance(region: NDArray[np.float64], random: NDArray[np.float64], controls: int) -> float:
    """The probability that the region mends as many errors as it does or more, if it were one of the 1 + `controls` regions
    of each picture at random.

    Exact: of a picture where `mending` of its regions mend the error, a random one does so with mending / (1 + controls),
    and their number over all pictures is a sum of such events (the exact stratified test of one against several; with one
    control it is McNemar's).
    """
    chances = np.ones(1)
    for mending in region + controls * random:
        share = mending / (1 + controls)
        chances = np.convolve(chances, [1 - share, share])
    return float(min(1.0, chances[round(region.sum()) :].sum()))
