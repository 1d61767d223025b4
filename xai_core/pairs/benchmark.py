"""The table of the paper (sixteen methods x nine metrics) for any contrastive model and any pictures, with controls.

Each picture is measured alone, so that a run can be stopped and taken up again: what is done lies in files of its own.
"""

import contextlib
import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai_core.core.cache_key import array_digest, bytes_digest
from xai_core.core.errors import BadPicture, BadRequest
from xai_core.core.runtime import Track
from xai_core.data.datasets import Dataset
from xai_core.data.preprocessing import prepare
from xai_core.explanation.export import write_atomically
from xai_core.models.explainable import ExplainableModel
from xai_core.pairs.augment import Augmentation, draw_view, transformed
from xai_core.pairs.catalog import PAIR_METHODS, find_pair_method
from xai_core.pairs.evaluate import CONTROLS, evaluate_pair
from xai_core.pairs.explain import ask_pair, explain_pair, usual_options
from xai_core.pairs.methods.pixel_invariance import drawn_views
from xai_core.pairs.metrics import BOTH, PAIR_METRICS, STEP

PUBLISHED = {  # the paper's names -> ours, in its order
    "Conditional Occlusion": "conditional_occlusion",
    "Context-Agnostic Occlusion": "context_agnostic_occlusion",
    "Pairwise Occlusion": "pairwise_occlusion",
    "Grad-CAM": "grad_cam",
    "Interaction-CAM (Mean)": "interaction_cam_mean",
    "Interaction-CAM (Max)": "interaction_cam_max",
    "Interaction-CAM (SA)": "interaction_cam_attn",
    "Pixel Invariance": "pixel_invariance",
    "Input x Gradient": "input_x_gradient",
    "Input x Gradient (G)": "input_x_gradient_guided",
    "Smooth-Grad": "smooth_grad",
    "Smooth-Grad (G)": "smooth_grad_guided",
    "Avg. Transforms": "averaged_transforms",
    "Avg. Transforms (G)": "averaged_transforms_guided",
    "Avg. Transforms (N)": "averaged_transforms_noise",
    "Avg. Transforms (G + N)": "averaged_transforms_guided_noise",
}
MODELS = {"simclrv2_r50_2x": "SimCLRv2 (2X)", "barlow_twins": "Barlow Twins"}
WITHOUT_MS = ("perturbation", "surrogate")  # families whose max-sensitivity the paper leaves out: ten times their cost
CROPPED, WHOLE = "random crops", "picture and its transform"
RECIPE = Augmentation(crop=0.2, flip=True, jitter=0.5, greyscale=1.0, blur=0.4)


@dataclass(frozen=True)
class Plan:
    """What a run measures. Methods that the paper shows on crops get pairs of random crops; gradients a picture and its
    combined transform. `normalised` works behind the normalisation, as the published tables do."""

    methods: tuple[str, ...] = tuple(PUBLISHED.values())
    controls: tuple[str, ...] = CONTROLS
    metrics: tuple[str, ...] = tuple(PAIR_METRICS)
    seed: int = 0
    step: int = STEP
    normalised: bool = True
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self):
        for name in self.methods:
            find_pair_method(name)

    def digest(self, model: ExplainableModel) -> str:
        """Names what a picture's file was made with: another plan's files are not taken up."""
        versions = {name: PAIR_METHODS[name].version for name in self.methods}
        said = json.dumps([asdict(self), versions, model.id, model.fingerprint], sort_keys=True)
        return bytes_digest(said.encode())[:16]


def measure_picture(model: ExplainableModel, picture: Any, number: int, plan: Plan, track: Track = iter) -> list[dict]:
    """Rows of one picture, whose views are drawn by its number: those of `evaluate_pair`, with the kind of the pair.

    A method that does not fit the network (nothing to guide) has no rows.
    """
    whole = prepare(picture, model.recipe).pixels
    inside = plan.normalised and model.network.normalise is not None
    asked = model.in_normalised_space() if inside else model
    rows = []
    for kind in (CROPPED, WHOLE):
        names = [name for name in plan.methods if PAIR_METHODS[name].cropped == (kind == CROPPED)]
        if not names:
            continue
        views = shown = _views(whole, number, kind, plan)
        if inside:
            views = [_normalised(model, view[None])[0] for view in shown]
        maps: dict[str, Any] = {}
        for name in track(names):
            options = plan.options.get(name, {})
            if inside and name == "pixel_invariance":
                options = options | _drawn(model, asked, shown, views, plan)
            with contextlib.suppress(BadRequest):
                maps[name] = explain_pair(asked, *views, name, seed=plan.seed, **options)
        for name in plan.controls:
            maps[name] = explain_pair(asked, *views, name, seed=plan.seed + number)
        curves = [one for one in plan.metrics if one != "MS"]
        found = evaluate_pair(asked, *views, maps, curves, step=plan.step)
        if "MS" in plan.metrics:
            again = {name: both for name, both in maps.items() if _has_sensitivity(name)}
            found += evaluate_pair(asked, *views, again, ["MS"], seed=plan.seed + number)
        rows += [row._asdict() | {"pairs": kind} for row in found]
    return rows


def _normalised(model: ExplainableModel, pictures: Tensor) -> Tensor:
    return model.network.normalise(pictures.to(model.device))


def _drawn(model, asked, shown: Sequence[Tensor], views: Sequence[Tensor], plan: Plan) -> dict[str, Tensor]:
    """What pixel invariance draws: views are augmented as pictures, and normalised afterwards."""
    count = PAIR_METHODS["pixel_invariance"].checked(
        usual_options(model, "pixel_invariance") | dict(plan.options.get("pixel_invariance", {}))
    )["count"]
    pair = ask_pair(asked, *views)
    drawn, similarities = drawn_views(pair, shown[0], count, plan.seed, lambda pictures: _normalised(model, pictures))
    return {"views": drawn, "similarities": similarities}


def _has_sensitivity(name: str) -> bool:
    return name in CONTROLS or PAIR_METHODS[name].family not in WITHOUT_MS


def _views(whole: Tensor, number: int, kind: str, plan: Plan) -> tuple[Tensor, Tensor]:
    """Two crops of a picture (3, H, W) by the recipe of SimCLR, or the picture and its combined transform."""
    if kind == CROPPED:
        return tuple(draw_view(whole, RECIPE, plan.seed, 2 * number + which).pixels for which in (0, 1))
    return whole, transformed(whole[None], "combined", plan.seed + number)[0]


def run(
    model: ExplainableModel, dataset: Dataset, names: Sequence[str], plan: Plan, folder: Path, track: Track = iter
) -> tuple[list[list[dict]], list[str]]:
    """(rows of each picture, a line for each that could not be measured); finished pictures are read from `folder`.

    Each picture's rows are written atomically as soon as they are there, under the digests of plan and picture.
    """
    digest, found, failed = plan.digest(model), [], []
    for number, name in enumerate(track(list(names))):
        try:
            picture = dataset.open(name)
            kept = folder / f"{digest}-{number:06d}-{array_digest(np.asarray(picture))[:12]}.json"
            rows = _read(kept)
            if rows is None:
                rows = measure_picture(model, picture, number, plan)
                write_atomically(kept, json.dumps(_plain(rows)).encode())
            found.append(rows)
        except BadPicture as error:
            failed.append(f"{name}: {error}")
    return found, failed


def _read(kept: Path) -> list[dict] | None:
    """Rows of a finished picture; None where there are none, or the file is not whole."""
    try:
        rows = json.loads(kept.read_text())
        return [row | {"value": math.nan if row["value"] is None else float(row["value"])} for row in rows]
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _plain(rows: Iterable[dict]) -> list[dict]:
    return [row | {"value": None if math.isnan(row["value"]) else row["value"]} for row in rows]


def published(model: str) -> dict[tuple[str, str], float]:
    """The paper's figures by (method, metric), for the two models that it measured; none for any other."""
    with (Path(__file__).parent / "published.csv").open(newline="") as file:
        return {
            (PUBLISHED[row["method"]], metric): float(row[metric])
            for row in csv.DictReader(file)
            if row["model"] == MODELS.get(model)
            for metric in PAIR_METRICS
            if row[metric] != "NA"
        }


def table(found: Sequence[Sequence[dict]], model: str) -> list[dict[str, Any]]:
    """One row for each method, kind of pairs and metric: mean over pictures with its 95% interval, n, how many values are
    undefined (NaN), and the published figure where there is one. A picture's value is that of both views.

    The interval is mean +- t s / sqrt(n), NaN for fewer than two pictures.
    """
    theirs, values = published(model), {}
    for rows in found:
        for row in rows:
            if row["view"] == BOTH:
                values.setdefault((row["method"], row["pairs"], row["metric"]), []).append(row["value"])
    lines = []
    for (method, pairs, metric), every in values.items():
        defined = np.array([value for value in every if not math.isnan(value)])
        mean = float(defined.mean()) if len(defined) else math.nan
        half = _half_width(defined)
        lines.append({
            "method": method, "pairs": pairs, "metric": metric, "better": PAIR_METRICS[metric].direction,
            "mean": mean, "low": mean - half, "high": mean + half, "n": len(defined),
            "undefined": len(every) - len(defined), "published": theirs.get((method, metric), math.nan),
        })  # fmt: skip
    order = [*PUBLISHED.values(), *PAIR_METHODS, *CONTROLS]

    def place(line: Mapping[str, Any]) -> tuple:
        return order.index(line["method"]), line["pairs"], list(PAIR_METRICS).index(line["metric"])

    return sorted(lines, key=place)


def _half_width(values: np.ndarray) -> float:
    from scipy.stats import t

    if len(values) < 2:
        return math.nan
    return float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))


def as_csv(lines: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]))
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def as_markdown(lines: Sequence[Mapping[str, Any]], said: str) -> str:
    """The table as the paper sets it: a line for each method, a column for each metric; published figures in brackets."""
    metrics = [one for one in PAIR_METRICS if any(line["metric"] == one for line in lines)]
    cells = {(line["method"], line["pairs"], line["metric"]): _cell(line) for line in lines}
    heads = [f"{one} {'↑' if PAIR_METRICS[one].up else '↓'}" for one in metrics]
    rows = [f"| method | pairs | {' | '.join(heads)} |", "|" + " --- |" * (len(metrics) + 2)]
    for method, pairs in dict.fromkeys((line["method"], line["pairs"]) for line in lines):
        shown = " | ".join(cells.get((method, pairs, metric), "–") for metric in metrics)
        rows.append(f"| {method} | {pairs} | {shown} |")
    undefined = sum(line["undefined"] for line in lines)
    note = (
        f"Mean ± half the 95% interval; the published figure in brackets. {undefined} values were not defined (a drop from "
        "a similarity that is not positive) and are left out. Occlusion, class activation maps and pixel invariance are "
        "measured on pairs of random crops, gradients on a picture and its combined transform, as in the paper."
    )
    return "\n".join([said, "", *rows, "", note, ""])


def _cell(line: Mapping[str, Any]) -> str:
    theirs = "" if math.isnan(line["published"]) else f" ({line['published']:.3g})"
    if math.isnan(line["mean"]):
        return f"–{theirs}"
    half = "" if math.isnan(line["high"]) else f" ± {line['high'] - line['mean']:.2g}"
    return f"{line['mean']:.3f}{half}{theirs}"


def chosen_pictures(dataset: Dataset, count: int, seed: int) -> list[str]:
    """The names of so many pictures, drawn by the seed; all where there are no more."""
    if count < 1:
        raise BadRequest(f"At least one picture is measured, not {count}.")
    every = sorted(sample.name for sample in dataset.samples)
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(seed))
    return [every[int(index)] for index in order[:count]]
