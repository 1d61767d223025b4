"""Methods that score randomly masked pictures: RISE and Sobol indices. No gradients: any model that gives a number will do.

Maps are at the network's resolution, (n, H, W). A mask depends on the seed and its number alone.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from xai_core.attribution.method import Maps
from xai_core.attribution.repeated_passes import (
    ROUND,
    PrecisionGoal,
    good_enough,
    one_by_one,
    one_target,
    read,
    rounds_of,
    sweep_rounds,
)
from xai_core.core import runtime
from xai_core.core.errors import BadRequest
from xai_core.core.options import Choice, Range
from xai_core.core.runtime import Track
from xai_core.data.preprocessing import BASELINES, baseline_images
from xai_core.explanation.heatmaps import size_of
from xai_core.explanation.question import Question
from xai_core.explanation.targets import Target, check_length

Samples = Annotated[int, Range(10, 8000), "number of random masks"]
Cells = Annotated[int, Range(2, 16), "number of cells along each side of a mask, before it is shifted"]
Share = Annotated[float, Range(0.1, 0.9, 0.05), "probability that a cell is shown"]
Fill = Annotated[str, Choice(BASELINES), "what replaces the hidden places"]
Correction = Annotated[
    str,
    Choice(("contrast", "coverage", "published")),
    "contrast: mean score where the pixel is shown minus mean score where it is hidden; coverage: mean score where it is "
    "shown; published: the sum of the paper, which also depends on how often the pixel was shown",
]


def rise(
    question: Question,
    images: Tensor,
    *,
    samples: Samples = 4000,
    grid: Cells = 7,
    share: Share = 0.5,
    fill: Fill = "black",
    correction: Correction = "contrast",
    precision_goal: PrecisionGoal = 0.0,
    seed: int = 0,
    masks: Tensor | None = None,
    track: Track = iter,
) -> Maps:
    """RISE: how the target differs between random masks that show a pixel and those that hide it.

    With masks M_n in [0, 1] and f_n = f(x M_n + fill (1 - M_n)), a map at a pixel is
    contrast (default): sum f_n M_n / sum M_n - sum f_n (1 - M_n) / sum (1 - M_n);
    coverage: sum f_n M_n / sum M_n; published: sum f_n M_n / (N share).
    A mask is a grid of cells, each shown with probability `share`, stretched bilinearly to one cell more than the picture
    and cut out at a random shift.
    Source: Petsiuk et al. 2018, arXiv:1806.07421. Sign: signed. Unit: the target's.
    The error is the standard error of these weighted means over the masks.
    Deviation: `published` is the paper's formula. Dividing by how often a pixel was really shown, not by how often it
    should have been, removes the noise of the coverage times the mean of f, which drowns the map of a logit; the
    contrast also subtracts the level, so that 0 means no effect, and the ranking is that of `coverage`. Outside the
    outermost cells' centres a mask keeps their value. `masks` (N, H, W) passes masks in, for every picture. With a precision
    goal the error is checked every 256 masks.

    Why: To find what a score depends on where only scores are available.
    Who: Analysts and reviewers; the map comes with its own error.
    What: Scores of the picture behind thousands of random masks.
    How: One forward pass for each mask; a smooth signed map, and a standard error for every pixel.
    When: After training; to check gradient and CAM maps by other means.
    Where: Any model that gives a number. One run serves any number of targets.
    Beware: It is slow, and coarser than its cells. Differences as small as the error are noise, and masked pictures
    differ from the training pictures.
    """
    (maps,) = rise_all(
        question, images, [question.target],
        samples=samples, grid=grid, share=share, fill=fill, correction=correction,
        precision_goal=precision_goal, seed=seed, masks=masks, track=track,
    )  # fmt: skip
    return maps


def rise_all(
    question: Question,
    images: Tensor,
    targets: Sequence[Target],
    *,
    samples: int = 4000,
    grid: int = 7,
    share: float = 0.5,
    fill: str = "black",
    correction: str = "contrast",
    precision_goal: float = 0.0,
    seed: int = 0,
    masks: Tensor | None = None,
    track: Track = iter,
) -> list[Maps]:
    """RISE for any number of targets (classes, margins, similarities) from the same masked passes; one Maps for each target.

    The question's own target is not used. With a precision goal the run ends when all maps have reached it.
    """
    height, width = size = size_of(images)
    if masks is not None and tuple(masks.shape[1:]) != size:
        raise BadRequest(f"Masks must be (N, {height}, {width}), as the pictures; these are {tuple(masks.shape)}.")
    if grid > min(size):
        raise BadRequest(f"A mask of {grid} x {grid} cells is finer than a picture of {height} x {width} pixels.")
    for target in targets:
        check_length(target, len(images))

    @lru_cache(maxsize=1)
    def masks_of(rows: range) -> Tensor:
        if masks is None:
            return random_masks(seed, rows, grid, share, size, images.device).to(images)
        return masks[rows.start : rows.stop].to(images)

    rounds = rounds_of(samples if masks is None else len(masks))
    heatmaps, errors, counts = [], [], []  # of each picture: (targets, H, W) twice, and the number of masks
    for row, image in enumerate(images):
        own_targets = [one_target(target, row) for target in targets]
        cover = baseline_images(image[None], fill)
        sums = _MaskMoments(len(own_targets), size, image.device)

        def pictures(rows: range, image: Tensor = image, cover: Tensor = cover) -> Tensor:
            whole = rounds[rows.start // ROUND]
            shown = masks_of(whole)[rows.start - whole.start : rows.stop - whole.start, None]
            return torch.lerp(cover, image, shown)

        for rows, outputs in sweep_rounds(question, pictures, rounds, size, track):
            sums.add(masks_of(rows), torch.stack([read(target, outputs) for target in own_targets]))
            each = (sums.map(index, correction, share) for index in range(len(own_targets)))
            if precision_goal and all(good_enough(heatmap, error, precision_goal) for heatmap, error in each):
                break
        heatmap, error = sums.maps(correction, share)
        heatmaps.append(heatmap)
        errors.append(error)
        counts.append(float(sums.count))
    facts = {"masks": torch.tensor(counts)}
    by_target = zip(torch.stack(heatmaps, 1), torch.stack(errors, 1), strict=True)
    return [Maps(heatmap, error, facts) for heatmap, error in by_target]


def random_masks(seed: int, rows: range, grid: int, share: float, size: tuple[int, int], device: torch.device) -> Tensor:
    """Masks number `rows` of a seed, (len(rows), H, W) in [0, 1]: cells of ceil(side / grid) pixels, shifted at random."""
    cells = [math.ceil(side / grid) for side in size]
    draws = torch.stack([runtime.uniform_draw(seed, row, (grid * grid + 2,)) for row in rows])
    shown = (draws[:, 2:] < share).float().view(-1, 1, grid, grid).to(device)
    stretched = F.interpolate(shown, [(grid + 1) * cell for cell in cells], mode="bilinear", align_corners=False)[:, 0]
    shifts = (draws[:, :2] * torch.tensor(cells)).long().tolist()
    height, width = size
    masks = zip(stretched, shifts, strict=True)
    return torch.stack([mask[top : top + height, left : left + width] for mask, (top, left) in masks])


class _MaskMoments:
    """Sums over masks of M^a (f - c)^b, a and b from 0 to 2, from which the maps and their errors are computed.

    c is the mean of the first round, which avoids cancellation in sums of squares. One matrix product adds a round for all
    targets, in place; maps are computed target by target, so that only the sums themselves grow with the number of targets.
    """

    def __init__(self, targets: int, size: tuple[int, int], device: torch.device) -> None:
        self.count, self.size = 0, size
        self.centre = torch.zeros(targets, 1, dtype=torch.float64)
        self.masks = torch.zeros(2, math.prod(size), dtype=torch.float64)  # sums of M, M^2
        self.scores = torch.zeros(targets, 2, dtype=torch.float64)  # sums of f, f^2
        self.both = torch.zeros(2, targets * 2, math.prod(size), device=device)  # sums of M f, M f^2; M^2 f, M^2 f^2

    def add(self, masks: Tensor, scores: Tensor) -> None:
        """Masks (N, H, W) and scores (targets, N)."""
        if not self.count:
            self.centre = scores.mean(1, keepdim=True)
        centred = scores - self.centre
        powers = torch.stack([centred, centred**2], 1)
        for power, values in enumerate((masks.flatten(1), masks.flatten(1) ** 2)):
            self.masks[power] += values.sum(0).double().cpu()
            self.both[power].addmm_(powers.flatten(0, 1).to(values), values)
        self.scores += powers.sum(2)
        self.count += len(masks)

    def maps(self, correction: str, share: float) -> tuple[Tensor, Tensor]:
        """Maps and standard errors, float32 (targets, H, W)."""
        maps, errors = zip(*(self.map(row, correction, share) for row in range(len(self.scores))), strict=True)
        return torch.stack(maps), torch.stack(errors)

    def map(self, row: int, correction: str, share: float) -> tuple[Tensor, Tensor]:
        """One target's map and standard error, float32 (H, W)."""
        (m1, m2), ((m1y, m1yy), (m2y, m2yy)) = self.masks, self.both[:, 2 * row : 2 * row + 2].double().cpu()
        n, (y, yy), centre = self.count, self.scores[row], self.centre[row]
        if correction == "published":
            mean = (m1y + centre * m1) / n
            square = (m2yy + 2 * centre * m2y + centre**2 * m2) / n
            maps, variance = mean / share, (square - mean**2) / n / share**2
        else:
            shown, hidden = m1.clamp(min=1e-6), (n - m1).clamp(min=1e-6)
            high, low = m1y / shown, (y - m1y) / hidden
            maps, variance = centre + high, (m2yy - 2 * high * m2y + high**2 * m2) / shown**2
        if correction == "contrast":  # a mask's share in the difference of the means is M (u y - v) - (y - low) / hidden
            u, v = 1 / shown + 1 / hidden, high / shown + low / hidden
            both = u**2 * m2yy - 2 * u * v * m2y + v**2 * m2
            cross = (u * m1yy - (u * low + v) * m1y + v * low * m1) / hidden
            maps, variance = high - low, both - 2 * cross + (yy - 2 * low * y + low**2 * n) / hidden**2
        return maps.float().view(self.size), variance.clamp(min=0).sqrt().float().view(self.size)


def sobol(
    question: Question,
    images: Tensor,
    *,
    grid: Annotated[int, Range(2, 14), "number of cells along each side of the grid"] = 8,
    designs: Annotated[
        int, Range(8, 256, 8), "number of rows of the design; the standard error falls with its square root"
    ] = 32,
    fill: Fill = "black",
    precision_goal: PrecisionGoal = 0.0,
    seed: int = 0,
    track: Track = iter,
) -> Maps:
    """Sobol indices: the share of the score's variance that involves a cell, alone or together with others.

    Each cell of a grid is shown with a strength m in [0, 1]. map on cell i = sum_n (f(A_n) - f(C_n))^2 / (2 N V), where
    A and B are the two halves of a Sobol sequence with Owen's scrambling, C is A with column i of B, and V the variance of
    f over A and B: the total-order index by Jansen's estimator.
    Source: Fel et al. 2021, arXiv:2111.04138. Sign: non-negative. Unit: none; a share of the variance, 0 to 1, and
    indices of cells that act together sum to more than 1.
    The error is the standard error of the quotient over the rows. It is an upper estimate, because a Sobol sequence is more
    even than random draws.
    Deviation: the sequence is scrambled by the seed, and the variance read from both halves. Each cell is one value,
    without the smooth enlargement of the authors' figures. With a precision goal the error is checked every 8 rows.

    Why: To see which places make the score vary, including interactions between places.
    Who: Researchers, and reviewers who know sensitivity analysis.
    What: Scores of the picture with its cells dimmed to different strengths at once.
    How: designs (grid^2 + 2) forward passes; one value for each cell, without a sign.
    When: After training; when covering one square at a time shows too little.
    Where: Any model that gives a number.
    Beware: It does not distinguish evidence for from evidence against. With 32 designs the error of an index is about half
    its value: look at the error.
    """
    size = size_of(images)
    if grid > min(size):
        raise BadRequest(f"A grid of {grid} x {grid} cells is finer than a picture of {size[0]} x {size[1]} pixels.")
    first, second = _sobol_halves(seed, designs, grid * grid)
    where = (_cells(size[0], grid)[:, None] * grid + _cells(size[1], grid)).to(images.device)
    per_row = grid * grid + 2
    rounds = rounds_of(designs * per_row, 8 * per_row)

    def strengths(rows: range) -> Tensor:
        design, place = (torch.tensor(rows) // per_row), (torch.tensor(rows) % per_row) - 2
        shown = first[design].clone()  # place -2 is A, -1 is B, others C with that column from B
        shown[place == -1] = second[design[place == -1]]
        swapped = torch.nonzero(place >= 0)[:, 0]
        shown[swapped, place[swapped]] = second[design[swapped], place[swapped]]
        return shown

    def run(question: Question, image: Tensor, row: int) -> Maps:
        cover = baseline_images(image, fill)

        def pictures(rows: range) -> Tensor:
            shown = strengths(rows).to(image)[:, where][:, None]
            return torch.lerp(cover, image, shown)

        scores = torch.empty(0, dtype=torch.float64)
        for _, outputs in sweep_rounds(question, pictures, rounds, size, track):
            scores = torch.cat([scores, read(question.target, outputs)])
            indices, error = jansen(scores.view(-1, per_row))
            if good_enough(indices, error, precision_goal):
                break
        heatmap, spread = (values.float()[where.cpu()][None] for values in (indices, error))
        return Maps(heatmap, spread, {"designs": torch.tensor([len(scores) / per_row])})

    return one_by_one(question, images, run)


def jansen(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Total-order indices and their standard errors, (d,), from rows of f(A), f(B), f(C_1) ... f(C_d)."""
    ends, changes = scores[:, :2], (scores[:, :1] - scores[:, 2:]) ** 2 / 2
    spread = (ends - ends.mean()) ** 2
    variance = spread.sum() / (spread.numel() - 1)
    if variance <= (1e-6 * ends.abs().max()) ** 2:  # rounding: the score does not depend on the picture
        return torch.zeros_like(changes[0]), torch.zeros_like(changes[0])
    indices = changes.mean(0) / variance
    rest = changes - indices * spread.mean(1, keepdim=True)
    return indices, rest.std(0) / (variance * math.sqrt(len(scores)))


def _sobol_halves(seed: int, rows: int, dimensions: int) -> tuple[Tensor, Tensor]:
    from scipy.stats import qmc

    sequence = qmc.Sobol(2 * dimensions, scramble=True, rng=seed)
    points = torch.from_numpy(sequence.random_base2(math.ceil(math.log2(rows)))[:rows])
    return points[:, :dimensions], points[:, dimensions:]


def _cells(length: int, count: int) -> Tensor:
    """Which of `count` cells each of `length` pixels lies in; cells differ by at most one pixel."""
    return torch.arange(length) * count // length
