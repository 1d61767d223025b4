"""What would mend an answer: pictures are changed in named ways, and the network is asked again."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_core.core.errors import BadRequest
from xai_core.core.runtime import Track
from xai_core.data.preprocessing import stack
from xai_core.explanation.heatmaps import size_of
from xai_core.explanation.question import Question
from xai_core.explanation.targets import ClassProbability
from xai_core.failures.picture_changes import PictureChange
from xai_core.models.explainable import ExplainableModel, Picture
from xai_core.models.outputs import Outputs, top_classes

USUAL_CHANGES = (
    PictureChange("brightness", {"factor": 0.6}),
    PictureChange("brightness", {"factor": 1.5}),
    PictureChange("contrast", {"factor": 0.5}),
    PictureChange("contrast", {"factor": 1.5}),
    PictureChange("hue", {"turn": -0.1}),
    PictureChange("hue", {"turn": 0.1}),
    PictureChange("grey"),
    PictureChange("blur"),
    PictureChange("noise"),
    PictureChange("JPEG"),
    PictureChange("rotation", {"degrees": -15}),
    PictureChange("rotation", {"degrees": 15}),
    PictureChange("crop"),
    PictureChange("shift", {"across": -0.1}),
    PictureChange("shift", {"across": 0.1}),
    PictureChange("mirrored"),
)
_PROBABILITIES = ("probability before", "probability after")
Stacked = Tensor | Sequence[Tensor]  # one for each picture, or one for all; a sequence may hold one tensor several times
_BLOCK = 64  # pictures that are in memory at once


def what_if(
    model: ExplainableModel,
    pictures: Sequence[Picture],
    true_classes: Sequence[int | str],
    changes: Sequence[PictureChange] = USUAL_CHANGES,
    *,
    masks: Stacked | None = None,
    backgrounds: Stacked | None = None,
    seed: int = 0,
    track: Track = iter,
) -> pd.DataFrame:
    """One row for each picture and change: what the network answers before and after.

    picture         the picture's place in `pictures`
    change          the change in words, with its options (`PictureChange.title`)
    true, before, after    the true class and the two answers, as numbers of classes
    probability before, probability after    of the true class
    mended, broken  whether a wrong answer became right; whether a right one became wrong

    Changes are made to what the network sees. `masks` (n, H, W) are True where a picture is no background; changes of the
    background need them. Swapped backgrounds are those of `backgrounds` (n, 3, H, W), or of its only one. The seed is that
    of the noise. Raises BadRequest for what cannot be asked.
    """
    if len(pictures) != len(true_classes):
        raise BadRequest(f"There are {len(pictures)} pictures and {len(true_classes)} true classes; each picture needs one.")
    if masks is not None and len(masks) != len(pictures):
        raise BadRequest(f"There are {len(pictures)} pictures and {len(masks)} masks; each picture needs one.")
    if backgrounds is not None and len(backgrounds) not in (1, len(pictures)):
        raise BadRequest(
            f"There are {len(pictures)} pictures and {len(backgrounds)} backgrounds; give one for each or for all."
        )
    true = [model.class_index(given) for given in true_classes]
    blocks = []
    for start in track(range(0, len(pictures), _BLOCK)):
        part = slice(start, start + _BLOCK)
        images = stack([model.prepare(picture) for picture in pictures[part]], model.device)
        answers = _answers(model, images, true[part], changes, _part(masks, part), _part(backgrounds, part), seed)
        for number, change in enumerate(changes, 1):
            blocks.append(
                pd.DataFrame(
                    {
                        "picture": np.arange(start, start + len(images)),
                        "change": change.title,
                        "true": true[part],
                        "before": answers[0, :, 0].astype(np.int64),
                        "after": answers[number, :, 0].astype(np.int64),
                        "probability before": answers[0, :, 1],
                        "probability after": answers[number, :, 1],
                    }
                )
            )
    if not blocks:
        return pd.DataFrame(columns=["picture", "change", "true", "before", "after", *_PROBABILITIES, "mended", "broken"])
    rows = pd.concat(blocks, ignore_index=True)
    was_right, is_right = rows["before"] == rows["true"], rows["after"] == rows["true"]
    return rows.assign(mended=~was_right & is_right, broken=was_right & ~is_right)


def _part(given: Stacked | None, part: slice) -> Tensor | None:
    """What is given for these pictures: the only one, where there is one for all."""
    return None if given is None else torch.stack(list(given if len(given) == 1 else given[part]))


def _answers(
    model: ExplainableModel,
    images: Tensor,
    true: Sequence[int],
    changes: Sequence[PictureChange],
    masks: Stacked | None,
    backgrounds: Stacked | None,
    seed: int,
) -> NDArray[np.float64]:
    """(1 + changes, pictures, 2): the answer and the probability of the true class, unchanged and after each change."""
    probability = ClassProbability(tuple(true))
    question = Question(model, probability, model.network.cut_name(None))

    def read(outputs: Outputs, rows: range) -> Tensor:
        of_true = probability(outputs, torch.arange(rows.start, rows.stop))
        return torch.stack([top_classes(outputs.logits)[:, 0].double().cpu(), of_true.double().cpu()], 1)

    def changed(rows: range, change: PictureChange) -> Tensor:
        part = slice(rows.start, rows.stop)
        return change(images[part], seed=seed, masks=_part(masks, part), backgrounds=_part(backgrounds, part))

    def unchanged(rows: range) -> Tensor:
        return images[rows.start : rows.stop]

    makers: list[Callable[[range], Tensor]] = [unchanged, *(partial(changed, change=change) for change in changes)]
    answers = [question.sweep_scores(make, read, len(images), size_of(images)) for make in makers]
    return torch.stack(answers).numpy()


def shares_mended(rows: pd.DataFrame) -> pd.DataFrame:
    """For each change of a table of `what_if`: of the pictures that were wrong, the share that it mends, with its Wilson
    interval (95%); and of those that were right, the share that it breaks.

    The change whose interval of the share mended begins highest comes first. A share of no picture is not a number.
    Intervals are not corrected for the number of changes: choose a change by some pictures, and confirm it on others.
    """
    from statsmodels.stats.proportion import proportion_confint

    wrong = rows["before"] != rows["true"]
    groups = rows.assign(wrong=wrong, right=~wrong).groupby("change", sort=False)
    counts = groups[["wrong", "mended", "right", "broken"]].sum().astype(np.int64)
    table = counts.reset_index()
    for part, whole in (("mended", "wrong"), ("broken", "right")):
        table[f"share {part}"] = table[part] / table[whole].where(table[whole] > 0)
        low, high = proportion_confint(table[part], table[whole].clip(lower=1), alpha=0.05, method="wilson")
        table[f"{part} low"] = np.where(table[whole] > 0, low, np.nan)
        table[f"{part} high"] = np.where(table[whole] > 0, high, np.nan)
    return table.sort_values(["mended low", "share mended"], ascending=False, kind="stable", ignore_index=True)
