"""The table of the paper (sixteen methods x nine metrics) for any contrastive model and any pictures, with controls.

Source: Sammani et al. 2022, arXiv:2206.09753. Each picture is measured alone and stored as one part of a folder (see
`xai_core.core.part_store`), so that a stopped run is resumed.
"""

import contextlib
import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_core.attribution.catalog import METHODS
from xai_core.core import part_store, tables
from xai_core.core.cache_key import array_digest, bytes_digest
from xai_core.core.errors import BadPicture, BadRequest
from xai_core.core.part_store import PARTS
from xai_core.core.runtime import Track
from xai_core.data.datasets import Dataset
from xai_core.data.preprocessing import prepare
from xai_core.models.explainable import ExplainableModel, Picture
from xai_core.pairs.augment import Augmentation, draw_view, transformed
from xai_core.pairs.catalog import CLASS, PAIR_METHODS, find_pair_method
from xai_core.pairs.evaluate import CONTROLS, evaluate_pair
from xai_core.pairs.explain import PairExplanation, ask_pair, explain_pair, usual_options
from xai_core.pairs.methods.pixel_invariance import drawn_views
from xai_core.pairs.metrics import BOTH, PAIR_METRICS, STEP
from xai_core.pairs.question import PairQuestion

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


FORMAT = 1  # of the folder of parts
ENTRY = b"xai_core"  # of a part's metadata
ROWS = pa.schema([*((name, pa.string()) for name in ("method", "pairs", "metric", "view")), ("value", pa.float64())])


class BenchmarkRow(TypedDict):
    """The value of one metric for one method on one picture: `view` 1, 2 or "both", and the kind of `pairs`, CROPPED or
    WHOLE. An undefined value is NaN."""

    method: str
    pairs: str
    metric: str
    view: int | str
    value: float


class TableLine(TypedDict):
    """One method and metric over all pictures: the mean, its 95% interval, the number of values and of undefined ones."""

    method: str
    pairs: str
    metric: str
    better: str
    mean: float
    low: float
    high: float
    n: int
    undefined: int
    published: float


@dataclass(frozen=True)
class BenchmarkPlan:
    """What is measured. Methods that the paper shows on crops get pairs of random crops; gradients get a picture and its
    combined transform. With `normalised`, maps and changes are made behind the normalisation, as in the published tables.

    step      pixels from one point of a curve to the next
    options   of methods that have other ones than the model's usual, by the method's id
    """

    methods: tuple[str, ...] = tuple(PUBLISHED.values())
    controls: tuple[str, ...] = CONTROLS
    metrics: tuple[str, ...] = tuple(PAIR_METRICS)
    seed: int = 0
    step: int = STEP
    normalised: bool = True
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.methods:
            find_pair_method(name)

    def settings(self, model: ExplainableModel) -> dict[str, Any]:
        """Everything that the rows of a picture depend on beside the picture and its number."""
        return {
            "plan": asdict(self),
            "versions": {name: _version(name) for name in (*self.methods, *self.controls)},
            "metric versions": {name: PAIR_METRICS[name].version for name in self.metrics},
            "usual options": {name: usual_options(model, name) for name in self.methods},
            "model": model.id,
            "weights": model.fingerprint,
            "recipe": asdict(model.recipe),
        }

    def key(self, model: ExplainableModel) -> str:
        """A digest of the settings, which the parts of this plan carry."""
        return bytes_digest(json.dumps(self.settings(model), sort_keys=True).encode())[:16]


def _version(name: str) -> int:
    return METHODS[name.removeprefix(CLASS)].version if name.startswith(CLASS) else PAIR_METHODS[name].version


def measure_picture(
    model: ExplainableModel, picture: Picture, number: int, plan: BenchmarkPlan, track: Track = iter
) -> list[BenchmarkRow]:
    """The rows of one picture, whose views are drawn by its number: those of `evaluate_pair`, with the kind of the pair.

    A method that does not fit the network (nothing to guide) has no rows.
    """
    whole = prepare(picture, model.recipe).pixels
    inside = plan.normalised and model.network.normalise is not None
    explained = model.in_normalised_space() if inside else model
    rows: list[BenchmarkRow] = []
    for kind in (CROPPED, WHOLE):
        names = [name for name in plan.methods if PAIR_METHODS[name].cropped == (kind == CROPPED)]
        if not names:
            continue
        pictures = _views(whole, number, kind, plan)
        view1, view2 = (_normalised(model, view[None])[0] if inside else view for view in pictures)
        maps: dict[str, PairExplanation] = {}
        for name in track(names):
            options = dict(plan.options.get(name, {}))
            if inside and name == "pixel_invariance":
                options |= _augmented_views(model, ask_pair(explained, view1, view2), pictures[0], plan)
            with contextlib.suppress(BadRequest):
                maps[name] = explain_pair(explained, view1, view2, name, seed=plan.seed, **options)
        for name in plan.controls:
            maps[name] = explain_pair(explained, view1, view2, name, seed=plan.seed + number)
        curves = [metric for metric in plan.metrics if metric != "MS"]
        values = evaluate_pair(explained, view1, view2, maps, curves, step=plan.step)
        if "MS" in plan.metrics:
            repeated = {name: both for name, both in maps.items() if _has_sensitivity(name)}
            values += evaluate_pair(explained, view1, view2, repeated, ["MS"], seed=plan.seed + number)
        rows += [
            {"method": row.method, "pairs": kind, "metric": row.metric, "view": row.view, "value": row.value}
            for row in values
        ]
    return rows


def _normalised(model: ExplainableModel, pictures: Tensor) -> Tensor:
    normalise = model.network.normalise
    return pictures if normalise is None else normalise(pictures.to(model.device))


def _augmented_views(model: ExplainableModel, pair: PairQuestion, picture: Tensor, plan: BenchmarkPlan) -> dict[str, Tensor]:
    """The views of pixel invariance and their similarities: augmented as pictures in [0, 1], and normalised afterwards."""
    count = PAIR_METHODS["pixel_invariance"].checked(
        usual_options(model, "pixel_invariance") | dict(plan.options.get("pixel_invariance", {}))
    )["count"]
    views, similarities = drawn_views(pair, picture, count, plan.seed, lambda pictures: _normalised(model, pictures))
    return {"views": views, "similarities": similarities}


def _has_sensitivity(name: str) -> bool:
    return name in CONTROLS or PAIR_METHODS[name].family not in WITHOUT_MS


def _views(whole: Tensor, number: int, kind: str, plan: BenchmarkPlan) -> tuple[Tensor, Tensor]:
    """Two crops of a picture (3, H, W) by the recipe of SimCLR, or the picture and its combined transform."""
    if kind == CROPPED:
        first, second = (draw_view(whole, RECIPE, plan.seed, 2 * number + which).pixels for which in (0, 1))
        return first, second
    return whole, transformed(whole[None], "combined", plan.seed + number)[0]


def run(
    model: ExplainableModel, dataset: Dataset, names: Sequence[str], plan: BenchmarkPlan, folder: Path, track: Track = iter
) -> tuple[list[list[BenchmarkRow]], list[str]]:
    """Measure pictures of a dataset by their names: the rows of each picture, and a line for each that cannot be read.

    The rows of a picture are stored in `folder` as soon as they are there, and read from there when the same plan is run
    again. Raises BadRequest where another process is writing to the folder.
    """
    settings, digest = plan.settings(model), plan.key(model)
    measured, failures = [], []
    busy = f"Another benchmark is writing to {folder}: wait for it, or give another file."
    with part_store.locked(folder, busy):
        _prepare(folder, digest, settings)
        stored = _stored(folder, digest)
        for number, name in enumerate(track(list(names))):
            try:
                picture = dataset.open(name)
            except BadPicture as error:
                failures.append(f"{name}: {error}")
                continue
            key = (number, array_digest(np.asarray(picture))[:16])
            rows = _read(stored[key]) if key in stored else measure_picture(model, picture, number, plan)
            if key not in stored:
                entry = {"plan": digest, "number": number, "picture": key[1]}
                columns = [{**row, "view": str(row["view"])} for row in rows]
                table = pa.Table.from_pylist(columns, ROWS.with_metadata({ENTRY: json.dumps(entry)}))
                part_store.write_part(folder / PARTS, table)
            measured.append(rows)
    return measured, failures


def _prepare(folder: Path, digest: str, settings: Mapping[str, Any]) -> None:
    """Add the plan to the folder's manifest, which may hold others. A manifest that cannot be read is written anew: the
    parts themselves name their plans."""
    try:
        plans = part_store.read_manifest(folder)["plans"]
    except (OSError, ValueError, KeyError, TypeError):
        plans = {}
    part_store.write_manifest(folder, {"format": FORMAT, "plans": {**plans, digest: settings}})
    part_store.repair(folder)


def _stored(folder: Path, digest: str) -> dict[tuple[int, str], Path]:
    """The parts of a plan by the number and the digest of their picture."""
    stored = {}
    for part in part_store.intact_parts(folder / PARTS):
        with contextlib.suppress(OSError, pa.ArrowException, ValueError, KeyError, TypeError):  # no part of a benchmark
            entry = part_store.read_metadata(part, ENTRY)
            if entry["plan"] == digest:
                stored[entry["number"], entry["picture"]] = part
    return stored


def _read(part: Path) -> list[BenchmarkRow]:
    rows: list[BenchmarkRow] = tables.read_parquet(part, ROWS.names, schema=ROWS).to_pylist()
    for row in rows:
        row["view"] = BOTH if row["view"] == BOTH else int(row["view"])
    return rows


def published(model: str) -> dict[tuple[str, str], float]:
    """The paper's figures by (method, metric) for the two models that it measured; empty for any other model."""
    with (Path(__file__).parent / "published.csv").open(newline="") as file:
        return {
            (PUBLISHED[row["method"]], metric): float(row[metric])
            for row in csv.DictReader(file)
            if row["model"] == MODELS.get(model)
            for metric in PAIR_METRICS
            if row[metric] != "NA"
        }


def table(pictures: Sequence[Sequence[BenchmarkRow]], model: str) -> list[TableLine]:
    """One line for each method, kind of pairs and metric: mean over pictures with its 95% interval, n, how many values are
    undefined (NaN), and the published figure where there is one. A picture's value is that of both views.

    The interval is mean +- t s / sqrt(n), NaN for fewer than two pictures.
    """
    figures = published(model)
    values: dict[tuple[str, str, str], list[float]] = {}
    for rows in pictures:
        for row in rows:
            if row["view"] == BOTH:
                values.setdefault((row["method"], row["pairs"], row["metric"]), []).append(row["value"])
    lines: list[TableLine] = []
    for (method, pairs, metric), every in values.items():
        defined = np.array([value for value in every if not math.isnan(value)])
        mean = float(defined.mean()) if len(defined) else math.nan
        half = _half_width(defined)
        lines.append({
            "method": method, "pairs": pairs, "metric": metric, "better": PAIR_METRICS[metric].direction,
            "mean": mean, "low": mean - half, "high": mean + half, "n": len(defined),
            "undefined": len(every) - len(defined), "published": figures.get((method, metric), math.nan),
        })  # fmt: skip
    order = [*PUBLISHED.values(), *PAIR_METHODS, *CONTROLS]

    def place(line: TableLine) -> tuple[int, str, int]:
        return order.index(line["method"]), line["pairs"], list(PAIR_METRICS).index(line["metric"])

    return sorted(lines, key=place)


def _half_width(values: NDArray[np.float64]) -> float:
    from scipy.stats import t

    if len(values) < 2:
        return math.nan
    return float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))


def as_csv(lines: Sequence[TableLine]) -> str:
    """The lines as CSV, with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]))
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def as_markdown(lines: Sequence[TableLine], heading: str) -> str:
    """The table as the paper sets it: a line for each method, a column for each metric; published figures in brackets."""
    metrics = [metric for metric in PAIR_METRICS if any(line["metric"] == metric for line in lines)]
    cells = {(line["method"], line["pairs"], line["metric"]): _cell(line) for line in lines}
    heads = [f"{metric} {'↑' if PAIR_METRICS[metric].up else '↓'}" for metric in metrics]
    rows = [f"| method | pairs | {' | '.join(heads)} |", "|" + " --- |" * (len(metrics) + 2)]
    for method, pairs in dict.fromkeys((line["method"], line["pairs"]) for line in lines):
        figures = " | ".join(cells.get((method, pairs, metric), "–") for metric in metrics)
        rows.append(f"| {method} | {pairs} | {figures} |")
    undefined = sum(line["undefined"] for line in lines)
    note = (
        f"Mean ± half the 95% interval; the published figure in brackets. {undefined} values were not defined (a drop from "
        "a similarity that is not positive) and are left out. Occlusion, class activation maps and pixel invariance are "
        "measured on pairs of random crops, gradients on a picture and its combined transform, as in the paper."
    )
    return "\n".join([heading, "", *rows, "", note, ""])


def _cell(line: TableLine) -> str:
    figure = "" if math.isnan(line["published"]) else f" ({line['published']:.3g})"
    if math.isnan(line["mean"]):
        return f"–{figure}"
    half = "" if math.isnan(line["high"]) else f" ± {line['high'] - line['mean']:.2g}"
    return f"{line['mean']:.3f}{half}{figure}"


def chosen_pictures(dataset: Dataset, count: int, seed: int) -> list[str]:
    """The names of `count` pictures drawn at random from `seed`, or of all where there are no more. Raises BadRequest."""
    if count < 1:
        raise BadRequest(f"The benchmark measures at least one picture, not {count}.")
    names = sorted(sample.name for sample in dataset.samples)
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
    return [names[int(index)] for index in order[:count]]
