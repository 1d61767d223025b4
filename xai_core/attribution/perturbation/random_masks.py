"""What the target says of pictures behind random masks. No gradients: works for anything that gives a number.

Maps are at the network's resolution, (n, H, W). All randomness is a pure function of the seed and the number of a mask.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from xai_core.attribution.method import Maps
from xai_core.attribution.sampling import (
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
from xai_core.explanation.question import Question
from xai_core.explanation.targets import Target, check_length

Samples = Annotated[int, Range(10, 8000), "random masks"]
Cells = Annotated[int, Range(2, 16), "cells of a mask along each side, before it is shifted"]
Share = Annotated[float, Range(0.1, 0.9, 0.05), "probability that a cell is shown"]
Fill = Annotated[str, Choice(BASELINES), "what a hidden place shows"]
Correction = Annotated[
    str,
    Choice(("contrast", "coverage", "published")),
    "shown minus hidden; the mean where shown; or the published sum, which holds how often each pixel was shown",
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
    should have been, takes the noise of the coverage times the mean of f off the map, which buries it for logits; the
    contrast also takes off the level, so that 0 is 'no matter' and the ranking is that of `coverage`. Outside the outermost
    cells' centres a mask keeps their value. `masks` (N, H, W) passes masks in, for every picture; a run with a precision
    goal looks at the error every 256 masks.

    Why: To find what a score rests on where nothing but scores can be had.
    Who: Analysts and reviewers; the map comes with its own error.
    What: Scores of the picture behind thousands of random masks.
    How: One forward pass for each mask; a smooth signed map, and a standard error for every pixel.
    When: After training; to check gradient and CAM maps by other means.
    Where: Any model that gives a number. One run serves any number of targets.
    Beware: It is slow, and coarser than its cells. Differences of the order of the error are noise, and masked pictures
    are unlike those the network has learnt from.
    """
    chosen = {"samples": samples, "grid": grid, "share": share, "fill": fill, "correction": correction}
    given = {"precision_goal": precision_goal, "seed": seed, "masks": masks, "track": track}
    return rise_all(question, images, [question.target], **chosen, **given)[0]


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
    """RISE for any number of targets from the same masked passes: classes, margins and similarities alike.

    The target of the question itself is not read. With a precision goal the run ends when all maps have reached it.
    """
    height, width = size = tuple(images.shape[2:])
    if masks is not None and tuple(masks.shape[1:]) != size:
        raise BadRequest(f"Masks are (N, {height}, {width}) as the pictures; these are {tuple(masks.shape)}.")
    if grid > min(size):
        raise BadRequest(f"A mask of {grid} x {grid} cells is finer than a picture of {height} x {width} pixels.")
    for target in targets:
        check_length(target, len(images))

    @lru_cache(maxsize=1)
    def drawn(rows: range) -> Tensor:
        made = random_masks(seed, rows, grid, share, size, images.device) if masks is None else masks[rows.start : rows.stop]
        return made.to(images)

    rounds = rounds_of(samples if masks is None else len(masks))
    found = []
    for row, image in enumerate(images):
        asked = [one_target(target, row) for target in targets]
        cover = baseline_images(image[None], fill)
        sums = _Moments(len(asked), size, image.device)

        def pictures(rows: range, image: Tensor = image, cover: Tensor = cover) -> Tensor:
            whole = rounds[rows.start // ROUND]
            shown = drawn(whole)[rows.start - whole.start : rows.stop - whole.start, None]
            return torch.lerp(cover, image, shown)

        for rows, outputs in sweep_rounds(question, pictures, rounds, size, track):
            sums.add(drawn(rows), torch.stack([read(target, outputs) for target in asked]))
            each = (sums.map(index, correction, share) for index in range(len(asked)))
            if precision_goal and all(good_enough(*one, precision_goal) for one in each):
                break
        found.append((*sums.maps(correction, share), sums.count))
    used = {"masks": torch.tensor([float(count) for _, _, count in found])}
    stacked = [torch.stack(part, 1) for part in list(zip(*found, strict=True))[:2]]
    return [Maps(maps, error, used) for maps, error in zip(*stacked, strict=True)]


def random_masks(seed: int, rows: range, grid: int, share: float, size: tuple[int, int], device: torch.device) -> Tensor:
    """Masks number `rows` of a seed, (len(rows), H, W) in [0, 1]: cells of ceil(side / grid) pixels, shifted at random."""
    cells = [math.ceil(side / grid) for side in size]
    drawn = torch.stack([runtime.uniform_draw(seed, row, (grid * grid + 2,)) for row in rows])
    shown = (drawn[:, 2:] < share).float().view(-1, 1, grid, grid).to(device)
    stretched = F.interpolate(shown, [(grid + 1) * cell for cell in cells], mode="bilinear", align_corners=False)[:, 0]
    shifts = (drawn[:, :2] * torch.tensor(cells)).long().tolist()
    cut = [mask[top : top + size[0], left : left + size[1]] for mask, (top, left) in zip(stretched, shifts, strict=True)]
    return torch.stack(cut)


class _Moments:
    """Sums over masks of M^a (f - c)^b, a and b from 0 to 2: everything that the maps and their errors are made from.

    c is the mean of the first round, so that sums of squares do not cancel. One matrix product adds a round for all targets,
    in place; what is read is read target by target, so that beside the sums nothing grows with their number.
    """

    def __init__(self, targets: int, size: tuple[int, int], device: torch.device):
        self.count, self.size = 0, size
        self.centre = None
        self.masks = torch.zeros(2, math.prod(size), dtype=torch.float64)  # sums of M, M^2
        self.scores = torch.zeros(targets, 2, dtype=torch.float64)  # sums of f, f^2
        self.both = torch.zeros(2, targets * 2, math.prod(size), device=device)  # sums of M f, M f^2; M^2 f, M^2 f^2

    def add(self, masks: Tensor, scores: Tensor) -> None:
        """Masks (N, H, W) and scores (targets, N)."""
        if self.centre is None:
            self.centre = scores.mean(1, keepdim=True)
        centred = scores - self.centre
        powers = torch.stack([centred, centred**2], 1)
        for power, seen in enumerate((masks.flatten(1), masks.flatten(1) ** 2)):
            self.masks[power] += seen.sum(0).double().cpu()
            self.both[power].addmm_(powers.flatten(0, 1).to(seen), seen)
        self.scores += powers.sum(2)
        self.count += len(masks)

    def maps(self, correction: str, share: float) -> tuple[Tensor, Tensor]:
        """Maps and standard errors, float32 (targets, H, W)."""
        found = [self.map(row, correction, share) for row in range(len(self.scores))]
        return tuple(torch.stack(part) for part in zip(*found, strict=True))

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
    grid: Annotated[int, Range(2, 14), "cells along each side"] = 8,
    designs: Annotated[int, Range(8, 256, 8), "rows of the design; the standard error falls as its square root"] = 32,
    fill: Fill = "black",
    precision_goal: PrecisionGoal = 0.0,
    seed: int = 0,
    track: Track = iter,
) -> Maps:
    """Sobol indices: the share of the score's variance that a cell has a part in, alone and with others.

    Each cell of a grid is shown with a strength m in [0, 1]. map on cell i = sum_n (f(A_n) - f(C_n))^2 / (2 N V), where
    A and B are the two halves of a Sobol sequence with Owen's scrambling, C is A with column i of B, and V the variance of
    f over A and B: the total-order index by Jansen's estimator.
    Source: Fel et al. 2021, arXiv:2111.04138. Sign: non-negative. Unit: none; a share of the variance, 0 to 1, and
    indices of cells that act together sum to more than 1.
    The error is the standard error of the quotient over the rows, on the careful side, because a Sobol sequence is more
    even than chance.
    Deviation: the sequence is scrambled by the seed, and the variance read from both halves. Each cell is one value,
    without the smooth enlargement of the authors' pictures. A run with a precision goal looks at the error every 8 rows.

    Why: To see what the score's variation comes from, with interactions between places counted in.
    Who: Researchers, and reviewers who know sensitivity analysis.
    What: Scores of the picture with its cells dimmed to different strengths at once.
    How: designs (grid^2 + 2) forward passes; one value for each cell, without a sign.
    When: After training; where single squares covered one at a time tell too little.
    Where: Any model that gives a number.
    Beware: It does not tell evidence for from evidence against. With 32 designs an index is known to about half of itself:
    look at the error.
    """
    size = tuple(images.shape[2:])
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
        painted = [values.float()[where.cpu()][None] for values in (indices, error)]
        return Maps(*painted, {"designs": torch.tensor([len(scores) / per_row])})

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
    drawn = torch.from_numpy(sequence.random_base2(math.ceil(math.log2(rows)))[:rows])
    return drawn[:, :dimensions], drawn[:, dimensions:]


def _cells(length: int, count: int) -> Tensor:
    """Which of `count` cells each of `length` pixels lies in; cells differ by at most one pixel."""
    return torch.arange(length) * count // length
