"""Which axes of activations are a grid over the picture, found out by changing the picture in one place after another.

A picture and nine copies of it go through the network, each copy with another of its ninths replaced. A layout is believed
where the cells of its grid are moved most by the ninth in which they lie. Names of modules are not looked at.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from xai_core.core.errors import BadRequest
from xai_core.core.runtime import normal_draw
from xai_core.models.staged import Step, tokens_grid

THIRDS = 3  # of a side: the squares that are replaced
PREFIX = 32  # tokens in front of the patches or behind them, at most
BELIEVED = 0.15  # correlation of what moves the cells with where they lie
BETTER = 0.02  # by which a less usual layout must fit better than a usual one


class Layout(NamedTuple):
    """words    how the activations lie, for the reader
    grid     activations -> (n, C, h, w); raises BadRequest where there is no grid
    size     (h, w) at the usual size of pictures; None where there is no grid
    """

    words: str
    grid: Step
    size: tuple[int, int] | None


class PossibleLayout(NamedTuple):
    words: str
    size: tuple[int, int]
    at_any_size: Step
    at_this_size: Step


def moved_pictures(side: int, channels: int = 3) -> Tensor:
    """(10, channels, side, side): a picture of coarse and fine noise about zero, and its nine copies, by rows."""
    first, other = (
        F.interpolate(normal_draw(0, index, (1, channels, 8, 8)), (side, side), mode="nearest")
        + normal_draw(1, index, (1, channels, side, side))
        for index in (0, 1)
    )
    copies = [torch.where(square[None, None] > 0, other, first) for square in _squares(side)]
    return torch.cat([first, *copies])


def _squares(side: int) -> Tensor:
    """(9, side, side): 1 in a ninth of the picture, 0 elsewhere."""
    places = torch.arange(side) * THIRDS // side
    return torch.stack(
        [((places == row)[:, None] & (places == column)[None]).float() for row in range(THIRDS) for column in range(THIRDS)]
    )


def told_by_sizes(shape: tuple[int, ...], elsewhere: tuple[int, ...]) -> Layout | None:
    """The layout of maps whose height and width grew with the picture's, and nothing else; None where that is not so."""
    if len(shape) == len(elsewhere) == 4:
        for candidate, axes in _maps(shape)[:2]:
            if axes == _changing(shape, elsewhere) and min(candidate.size) > 1:
                return Layout(candidate.words, candidate.at_any_size, candidate.size)
    return None


def layout(moved: Tensor, elsewhere: tuple[int, ...] | None) -> Layout:
    """The layout of activations of `moved_pictures`.

    elsewhere  the shape of the activations of pictures of another, oblong size; None where the network takes no other
    """
    shape = tuple(moved.shape)
    if len(moved) != 10:
        return without(f"its tensor {shape} does not have one row for each picture (it holds windows or parts of them)")
    found = [one for one in _candidates(shape, elsewhere) if min(one.size) > 1]
    if not found:
        return without(f"its tensor, {shape[1:]} for each picture, has no axes that could be a grid of several cells")
    scores = [_score(one.at_this_size(moved.float())) for one in found]
    best = max(range(len(found)), key=lambda index: scores[index] - BETTER * index)
    if not scores[best] >= BELIEVED:
        return without(
            f"its tensor is {shape[1:]} for each picture, but its places do not answer to those of the picture in reading "
            "order"
        )
    kept = found[best]
    return Layout(kept.words, kept.at_this_size if elsewhere is None else kept.at_any_size, kept.size)


def without(why: str) -> Layout:
    """No layout, and the sentence that says so wherever a grid is asked for."""

    def grid(activations: Tensor) -> Tensor:
        raise BadRequest(f"There is no grid at this cut: {why}. Choose another cut, or a method that needs none.")

    return Layout(f"No grid: {why}.", grid, None)


def _score(grid: Tensor) -> float:
    """(10, C, h, w) -> correlation, over cells and squares, of what moves a cell with where it lies."""
    moves = (grid[1:] - grid[:1]).abs().mean(1)
    shares = moves / moves.sum(0).clamp_min(1e-30)
    squares = _squares(THIRDS * math.lcm(*grid.shape[2:]) if math.lcm(*grid.shape[2:]) <= 256 else 240)
    lies = F.interpolate(squares[:, None], grid.shape[2:], mode="area")[:, 0].to(grid.device)
    both = torch.stack([(shares - shares.mean(0)).flatten(), (lies - lies.mean(0)).flatten()])
    return float(torch.corrcoef(both)[0, 1].nan_to_num())


def _candidates(shape: tuple[int, ...], elsewhere: tuple[int, ...] | None) -> list[PossibleLayout]:
    """Every layout that the shapes allow, the usual ones first."""
    changing = None if elsewhere is None or len(elsewhere) != len(shape) else _changing(shape, elsewhere)
    if len(shape) == 4:
        found = [(candidate, axes) for candidate, axes in _maps(shape) if changing in (None, axes)]
        return [candidate for candidate, _ in found] + (_blocks(shape) if changing is None else [])
    if len(shape) == 3:
        return [one for axis in (1, 2) if changing in (None, {axis}) for one in _tokens(shape, axis)]
    return []


def _changing(shape: tuple[int, ...], elsewhere: tuple[int, ...]) -> set[int]:
    return {axis for axis in range(1, len(shape)) if shape[axis] != elsewhere[axis]}


def _same(step: Step, words: str, size: tuple[int, int]) -> PossibleLayout:
    return PossibleLayout(words, size, step, step)


def _maps(shape: tuple[int, ...]) -> list[tuple[PossibleLayout, set[int]]]:
    _, one, two, three = shape
    return [
        (_same(lambda maps: maps, "channels first (n, C, h, w)", (two, three)), {2, 3}),
        (_same(lambda maps: maps.permute(0, 3, 1, 2), "channels last (n, h, w, C)", (one, two)), {1, 2}),
        (_same(lambda maps: maps.transpose(2, 3), "channels first, columns before rows (n, C, w, h)", (three, two)), {2, 3}),
        (
            _same(lambda maps: maps.permute(0, 3, 2, 1), "channels last, columns before rows (n, w, h, C)", (two, one)),
            {1, 2},
        ),
    ]


def _blocks(shape: tuple[int, ...]) -> list[PossibleLayout]:
    """(n, blocks, cells of a block, C), both square: blocks in reading order, and the cells inside each."""
    blocks, cells = math.isqrt(shape[1]), math.isqrt(shape[2])
    if blocks * blocks != shape[1] or cells * cells != shape[2]:
        return []

    def grid(maps: Tensor) -> Tensor:
        apart = maps.unflatten(2, (cells, cells)).unflatten(1, (blocks, blocks))
        squares: Tensor = apart.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
        return squares

    return [_same(grid, f"blocks of {cells} x {cells} cells (n, blocks, cells, C)", (blocks * cells, blocks * cells))]


def _tokens(shape: tuple[int, ...], axis: int) -> list[PossibleLayout]:
    """Tokens of a square grid in reading order along an axis, with other tokens in front of them or behind."""
    found = []
    for extra in range(PREFIX + 1):
        side = math.isqrt(max(shape[axis] - extra, 0))
        if side * side != shape[axis] - extra or extra >= side * side:
            continue
        for front in (extra, 0) if extra else (0,):
            lies = "tokens (n, N, C)" if axis == 1 else "tokens (n, C, N)"
            beside = (
                "" if not extra else f" with {extra} other{'s' if extra > 1 else ''} {'in front' if front else 'behind'}"
            )
            found.append(
                PossibleLayout(
                    f"{lies} of a square grid{beside}",
                    (side, side),
                    _square_tokens(front, extra, axis),
                    _tokens_of(front, (side, side), axis),
                )
            )
    return found


def _tokens_of(front: int, size: tuple[int, int], axis: int) -> Step:
    """The view of tokens as (n, C, h, w), whatever stands in front of them and behind."""

    def grid(tokens: Tensor) -> Tensor:
        rows = tokens if axis == 1 else tokens.transpose(1, 2)
        return tokens_grid(front, size)(rows[:, : front + size[0] * size[1]])

    return grid


def _square_tokens(front: int, extra: int, axis: int) -> Step:
    """As `_tokens_of`, for pictures of any size that are square."""

    def grid(tokens: Tensor) -> Tensor:
        count = tokens.shape[axis] - extra
        side = math.isqrt(max(count, 0))
        if side < 1 or side * side != count:
            raise BadRequest(f"{count} tokens are no square grid: this network is explained on square pictures only.")
        return _tokens_of(front, (side, side), axis)(tokens)

    return grid
