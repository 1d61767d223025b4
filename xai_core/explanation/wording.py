"""What a map says, in sentences: which colour speaks for what, where the evidence lies, and whether it can be read."""

from collections.abc import Sequence

import numpy as np

from xai_core.explanation import heatmaps
from xai_core.explanation.heatmaps import Floats
from xai_core.explanation.result import Explanation

SIGN_COLOURS = {"red-blue": ("red", "blue"), "brown-teal": ("brown", "teal"), "warm-cool": ("red", "blue")}  # by palette
FEW_PLACES = 3  # ninths of the picture that a sentence names at most; evidence in more of them is "spread"
EVEN = 1.5  # times the mean ninth: where no ninth holds more than this, no place stands out
ALMOST_NOTHING = 0.01  # share of the whole map below which a sign is not worth a place
SMALL_SPOTS = 0.03  # share of the picture: half of the evidence on less is worth a sentence
BLOCKS = 7  # blocks a side within which signs count as mixed
MIXED = 0.2  # what remains of the map's magnitude, as a share, when the signs within each block cancel

_PLACES: Sequence[Sequence[str]] = (
    ("at the upper left", "at the top", "at the upper right"),
    ("on the left", "in the centre", "on the right"),
    ("at the lower left", "at the bottom", "at the lower right"),
)


def answer(explanation: Explanation, palette: str = "red-blue") -> str:
    """The map's answer in one to three sentences: 'Red speaks for tiger cat, blue for tabby. Most of the red lies in the
    centre (62%), most of the blue at the upper left (55%).' Places are ninths of what the network saw.

    `palette` is the one in which the map is drawn; maps without a sign have bright and dark places in each.
    """
    heatmap = explanation.heatmap
    if not np.isfinite(heatmap).all():
        return "This map cannot be read: it contains values that are not numbers."
    if not heatmap.any():
        return f"This map is empty: it shows no evidence for {explanation.subject}."
    positive, negative = np.clip(heatmap, 0, None).astype(float), np.clip(-heatmap, 0, None).astype(float)
    sentences = [_meaning(explanation, positive.sum(), negative.sum(), palette)]
    if np.ptp(heatmap) <= heatmaps.FLAT * np.abs(heatmap).max():
        return f"{sentences[0]} The map is the same everywhere: no place stands out."
    smaller = min(positive.sum(), negative.sum()) / (positive.sum() + negative.sum())
    if smaller < ALMOST_NOTHING or _remainder(heatmap) < MIXED:
        sentences.append(_capital(f"{_where(positive + negative, 'the evidence')}."))
    else:
        red, blue = SIGN_COLOURS[palette]
        sentences.append(_capital(f"{_where(positive, f'the {red}')}; {_where(negative, f'the {blue}')}."))
    if _remainder(heatmap) < MIXED:
        red, blue = SIGN_COLOURS[palette]
        mixed = f"{_capital(red)} and {blue} are mixed everywhere, as in noise: do not read the sign of single spots."
        return " ".join([*sentences, mixed])
    spots = _half_area(np.abs(heatmap))
    if spots < SMALL_SPOTS:
        sentences.append(f"Half of the evidence fits into {_percent(spots)} of the picture.")
    return " ".join(sentences)


def _meaning(explanation: Explanation, positive: float, negative: float, palette: str) -> str:
    """What the colours speak for."""
    subject, rival = explanation.subject, explanation.rival
    if not explanation.signed:
        return f"Bright places matter most for {subject}; this map does not show what speaks against it."
    red, blue = SIGN_COLOURS[palette]
    against = f"for {rival}" if rival else "against it"
    if negative < ALMOST_NOTHING * positive:
        return f"{_capital(red)} speaks for {subject}; almost nothing speaks {against} ({blue})."
    if positive < ALMOST_NOTHING * negative:
        against = f"for {rival}" if rival else f"against {subject}"
        return f"{_capital(blue)} speaks {against}; almost nothing speaks for {subject if rival else 'it'} ({red})."
    return f"{_capital(red)} speaks for {subject}, {blue} {against}."


def _where(mass: Floats, noun: str) -> str:
    """Where most of a map without negative values lies."""
    shares = heatmaps.ninths(mass)
    order = np.argsort(-shares, axis=None, kind="stable")
    largest_first = shares.ravel()[order]
    count = int(np.searchsorted(np.cumsum(largest_first), 0.5)) + 1  # ninths that hold half of it
    places = [_PLACES[place // 3][place % 3] for place in order[:count].tolist()]
    if count <= FEW_PLACES:
        return f"most of {noun} lies {_listed(places)} ({_percent(largest_first[:count].sum())})"
    if largest_first[0] < EVEN / 9:
        return f"{noun} is spread evenly over the picture, so that no place stands out"
    return f"{noun} is spread over the picture, and the largest part lies {places[0]} ({_percent(largest_first[0])})"


def _half_area(mass: Floats) -> float:
    """The smallest share of the cells that holds half of the mass."""
    largest_first = np.sort(mass, axis=None)[::-1].astype(float)
    cells = int(np.searchsorted(np.cumsum(largest_first), largest_first.sum() / 2)) + 1
    return cells / mass.size


def _remainder(heatmap: Floats) -> float:
    """What remains of the map's magnitude, as a share, when positive and negative values within each block cancel.

    Small where the signs alternate from pixel to pixel; 1 where each block has one sign. Maps with few cells have blocks of
    one cell: 1.
    """
    rows, columns = (min(side, BLOCKS) for side in heatmap.shape)
    net, gross = (heatmaps.block_means(values, rows, columns) for values in (heatmap, np.abs(heatmap)))
    return float(np.abs(net).mean() / gross.mean())


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "less than 1%"


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]
