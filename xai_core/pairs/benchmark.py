"""The table of the paper (sixteen methods x nine metrics) for any contrastive model and any pictures, with controls.

Source: Sammani et al. 2022, arXiv:2206.09753 (`study.py` has its figures and settings). Each picture is
measured alone and stored as one part of a folder (see `xai_core.core.part_store`), so that a stopped run is resumed.
"""

import contextlib
import csv
import io
import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_core.attribution import variants
from xai_core.attribution.catalog import METHODS
from xai_core.attribution.estimates import forward_passes
from xai_core.core import part_store, tables
from xai_core.core.cache_key import array_digest, bytes_digest
from xai_core.core.errors import BadPicture, BadRequest, UnknownName
from xai_core.core.part_store import PARTS
from xai_core.core.runtime import Track
from xai_core.core.shards import Shard
from xai_core.core.version import __version__
from xai_core.data.datasets import Dataset
from xai_core.data.preprocessing import prepare
from xai_core.models.explainable import ExplainableModel, Picture
from xai_core.models.ray_workers import RayWorkers, Work
from xai_core.pairs.augment import Augmentation, draw_view, transformed
from xai_core.pairs.catalog import CLASS, PAIR_METHODS, find_pair_variant, pair_method_of
from xai_core.pairs.evaluate import CONTROLS, DRAWS, evaluate_pair
from xai_core.pairs.explain import PairExplanation, ask_pair, augmented_views, explain_pair, normalised, usual_options
from xai_core.pairs.metrics import BOTH, PAIR_METRICS, STEP, curve_passes
from xai_core.pairs.study import COLUMNS, PUBLISHED, Deviation, Setup, in_words, published

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
    difference: float


@dataclass(frozen=True)
class BenchmarkPlan:
    """What is measured. Methods that the paper shows on crops get pairs of random crops; gradients get a picture and its
    combined transform. With `normalised`, maps and changes are made behind the normalisation, as in the published tables.

    methods   ids, or variants ("grad_cam@cut=layer3")
    step      pixels from one point of a curve to the next
    options   of methods that have other ones than the model's usual, by the method's id; `study.options_of(model.id)` are
              those of the published tables
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
            find_pair_variant(name)

    def options_of(self, model: ExplainableModel) -> dict[str, dict[str, Any]]:
        """All options of each method that can be set, as they are used on this model."""
        return {name: _free(name, {**usual_options(model, _id(name)), **self.given(name)}) for name in self.methods}

    def given(self, name: str) -> dict[str, Any]:
        """The options of one method or variant that differ from the model's usual ones."""
        return {**self.options.get(_id(name), {}), **find_pair_variant(name).options}

    def settings(self, model: ExplainableModel) -> dict[str, Any]:
        """Everything that the rows of a picture depend on beside the picture and its number."""
        return {
            "plan": asdict(self),
            "versions": {name: _version(name) for name in (*self.methods, *self.controls)},
            "metric versions": {name: PAIR_METRICS[name].version for name in self.metrics},
            "usual options": {name: usual_options(model, _id(name)) for name in self.methods},
            "model": model.id,
            "weights": model.fingerprint,
            "recipe": asdict(model.recipe),
        }

    def key(self, model: ExplainableModel) -> str:
        """A digest of the settings, which the parts of this plan carry."""
        return bytes_digest(json.dumps(self.settings(model), sort_keys=True).encode())[:16]


def _free(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a method, checked, without those that its id fixes."""
    method = pair_method_of(name)
    return {option: value for option, value in method.checked(options).items() if option not in method.fixed}


def _id(name: str) -> str:
    return pair_method_of(name).id


def _version(name: str) -> int:
    return METHODS[name.removeprefix(CLASS)].version if name.startswith(CLASS) else pair_method_of(name).version


def measure_picture(
    model: ExplainableModel, picture: Picture, number: int, plan: BenchmarkPlan, track: Track = iter
) -> list[BenchmarkRow]:
    """The rows of one picture, whose views are drawn by its number: those of `evaluate_pair`, with the kind of the pair.

    A method that does not fit the network (nothing to guide) has no rows. `track` wraps inner batches.
    """
    whole = prepare(picture, model.recipe).pixels
    inside = plan.normalised and model.network.normalise is not None
    explained = model.in_normalised_space() if inside else model
    rows: list[BenchmarkRow] = []
    for kind in (CROPPED, WHOLE):
        names = [name for name in plan.methods if pair_method_of(name).cropped == (kind == CROPPED)]
        if not names:
            continue
        pictures = _views(whole, number, kind, plan)
        view1, view2 = (normalised(model, view) if inside else view for view in pictures)
        maps: dict[str, PairExplanation] = {}
        for name in names:
            options, variant = plan.given(name), find_pair_variant(name)
            cut = variant.cut or None
            if inside and variant.method.id == "pixel_invariance":
                options |= augmented_views(model, ask_pair(explained, view1, view2), pictures[0], options, plan.seed, track)
            with contextlib.suppress(BadRequest):
                maps[name] = explain_pair(
                    explained, view1, view2, variant.method.id, cut=cut, seed=plan.seed, track=track, **options
                )
        for name in plan.controls:
            maps[name] = explain_pair(explained, view1, view2, name, seed=plan.seed + number)
        curves = [metric for metric in plan.metrics if metric != "MS"]
        values = evaluate_pair(explained, view1, view2, maps, curves, step=plan.step, track=track)
        if "MS" in plan.metrics:
            repeated = {name: both for name, both in maps.items() if _has_sensitivity(name)}
            values += evaluate_pair(explained, view1, view2, repeated, ["MS"], seed=plan.seed + number, track=track)
        rows += [
            {"method": row.method, "pairs": kind, "metric": row.metric, "view": row.view, "value": row.value}
            for row in values
        ]
    return rows


def passes(model: ExplainableModel, plan: BenchmarkPlan) -> float:
    """The forward passes that take as long as one picture of the plan; a backward pass counts as in other estimates."""
    side, options = model.recipe.input_size, plan.options_of(model)
    pixels, total = side * side, 0.0
    for kind in (CROPPED, WHOLE):
        names = [name for name in plan.methods if pair_method_of(name).cropped == (kind == CROPPED)]
        repeats = DRAWS + 1 if "MS" in plan.metrics else 0
        of_control = 2 * (1 + repeats) + curve_passes(2, plan.metrics, pixels, plan.step)  # it embeds both views each time
        total += len(plan.controls) * of_control if names else 0
        for name in names:
            method = pair_method_of(name)
            one = forward_passes(method.passes(method.checked(options[name]), side))
            total += (1 + repeats * _has_sensitivity(name)) * one
            total += curve_passes(1 if method.family == "surrogate" else 2, plan.metrics, pixels, plan.step)
    return total


def _has_sensitivity(name: str) -> bool:
    return name in CONTROLS or pair_method_of(name).family not in WITHOUT_MS


def _views(whole: Tensor, number: int, kind: str, plan: BenchmarkPlan) -> tuple[Tensor, Tensor]:
    """Two crops of a picture (3, H, W) by the recipe of SimCLR, or the picture and its combined transform."""
    if kind == CROPPED:
        first, second = (draw_view(whole, RECIPE, plan.seed, 2 * number + which).pixels for which in (0, 1))
        return first, second
    return whole, transformed(whole[None], "combined", plan.seed + number)[0]


def run(
    model: ExplainableModel,
    dataset: Dataset,
    names: Sequence[str],
    plan: BenchmarkPlan,
    folder: Path,
    track: Track = iter,
    *,
    within: Track = iter,
    budget: float = math.inf,
    shard: Shard | None = None,
    workers: RayWorkers | None = None,
) -> tuple[list[list[BenchmarkRow]], list[str]]:
    """Measure pictures of a dataset by their names: the rows of each picture, and a line for each that cannot be read.

    The rows of a picture are stored in `folder` as soon as they are there, and read from there when the same plan is run
    again. `track` wraps the pictures, `within` the inner batches of each. After `budget` seconds no further picture is
    started. With a `shard` only its pictures are measured, each with its number among all names, and the manifest tells how
    it ended: see `merged_benchmark`. With `workers`, these measure the pictures: `track` wraps their tasks, and `within` and
    `budget` have no effect. Raises BadRequest where another process is writing to the folder.
    """
    digest = plan.key(model)
    numbered = [(number, name) for number, name in enumerate(names) if shard is None or shard.holds(name)]
    told = {"shard": {"number": shard.number, "count": shard.count, "pictures": len(numbered)}} if shard else {}
    busy = f"Another benchmark is writing to {folder}: wait for it, or give another file."
    measured: dict[int, list[BenchmarkRow]] = {}
    problems: dict[int, str] = {}
    with part_store.locked(folder, busy):
        manifest = prepare_folder(folder, digest, plan.settings(model), {**asked_of(model, dataset, names, plan), **told})
        stored = stored_parts(folder, digest)
        known: dict[int, list[str]] = {}
        for number, picture in stored:
            known.setdefault(number, []).append(picture)
        asked = [_Asked(number, name, tuple(known.get(number, ()))) for number, name in numbered]
        if workers:
            found = _by_workers(workers, model, plan, asked, track)
        else:
            found = _one_by_one(model, dataset, plan, asked, track, within, budget)
        for one in found:
            if one.problem:
                problems[one.number] = one.problem
            elif (key := (one.number, one.picture)) in stored:
                measured[one.number] = read_part(stored[key])
            elif one.rows is not None:
                entry = {"plan": digest, "number": one.number, "picture": one.picture}
                columns = [{**row, "view": str(row["view"])} for row in one.rows]
                table = pa.Table.from_pylist(columns, ROWS.with_metadata({ENTRY: json.dumps(entry)}))
                part_store.write_part(folder / PARTS, table)
                measured[one.number] = one.rows
        failures = [problems[number] for number in sorted(problems)]
        if shard:
            manifest["asked"]["shard"] |= {"left_out": failures, "finished": len(measured) + len(failures) == len(numbered)}
            part_store.write_manifest(folder, manifest)
    return [measured[number] for number in sorted(measured)], failures


class _Asked(NamedTuple):
    """A picture that is to be measured: its number and name, and of which contents (digests) its rows are stored."""

    number: int
    name: str
    stored: tuple[str, ...]


class _Found(NamedTuple):
    """What was found of a picture: the digest of its content, its rows unless they are stored, or why it cannot be read."""

    number: int
    picture: str = ""
    rows: list[BenchmarkRow] | None = None
    problem: str = ""


def _find(
    model: ExplainableModel, dataset: Dataset, plan: BenchmarkPlan, asked: _Asked, within: Track = iter, measure: bool = True
) -> _Found:
    """One picture, which is measured if its rows are not stored."""
    try:
        picture = dataset.open(asked.name)
    except BadPicture as error:
        return _Found(asked.number, problem=f"{asked.name}: {error}")
    digest = array_digest(np.asarray(picture))[:16]
    if digest in asked.stored or not measure:
        return _Found(asked.number, digest)
    return _Found(asked.number, digest, measure_picture(model, picture, asked.number, plan, within))


def _one_by_one(
    model: ExplainableModel,
    dataset: Dataset,
    plan: BenchmarkPlan,
    asked: Sequence[_Asked],
    track: Track,
    within: Track,
    budget: float,
) -> Iterator[_Found]:
    began = time.monotonic()
    for one in track(asked):
        yield _find(model, dataset, plan, one, within, time.monotonic() - began <= budget)


def _by_workers(
    workers: RayWorkers, model: ExplainableModel, plan: BenchmarkPlan, asked: Sequence[_Asked], track: Track
) -> Iterator[_Found]:
    tasks = [asked[places.start : places.stop] for places in workers.tasks(range(len(asked)))]
    prepare = partial(_prepare_worker, workers, model.id, model.fingerprint, plan)
    for _, found in workers.results(prepare, tasks, track):
        yield from found


def _prepare_worker(
    workers: RayWorkers, id: str, fingerprint: str, plan: BenchmarkPlan
) -> Work[Sequence[_Asked], list[_Found]]:
    """In a worker: what measures the pictures of a task."""
    model, dataset = workers.model(id, fingerprint), workers.open()
    return lambda asked: [_find(model, dataset, plan, one) for one in asked]


def asked_of(model: ExplainableModel, dataset: Dataset, names: Sequence[str], plan: BenchmarkPlan) -> dict[str, Any]:
    """What is told of a run that its plan does not hold: of what, when, by what, and which options were used."""
    return {
        "title": model.title,
        "data": dataset.title,
        "names": list(names),
        "normalised": plan.normalised or model.network.normalise is None,
        "space": "behind the normalisation" if plan.normalised and model.network.normalise else "in pixel space",
        "options": plan.options_of(model),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "software": {"xai_core": __version__, "torch": torch.__version__},
    }


def stored_pictures(folder: Path, digest: str) -> set[int]:
    """The numbers of the pictures of a plan that are measured already. Raises BadRequest where the folder's latest plan is
    another one."""
    try:
        latest = part_store.read_manifest(folder)["latest"]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    if latest != digest:
        raise BadRequest(f"The run {folder.name} has other settings: choose another name.")
    return {number for number, _ in stored_parts(folder, digest)}


def setup_of(model: ExplainableModel, dataset: Dataset, count: int, plan: BenchmarkPlan) -> Setup:
    """Those settings of a run over `count` pictures that the study's are compared with."""
    asked = asked_of(model, dataset, [""] * count, plan)
    return setup_as_told(model.id, asked, plan, count)


def setup_as_told(model: str, asked: Mapping[str, Any], plan: BenchmarkPlan, count: int) -> Setup:
    """The same of a stored run, from what its manifest tells."""
    pictures = f"{count:,} of {asked['data']}"
    return Setup(model, asked["title"], pictures, bool(asked["normalised"]), plan.step, asked["options"])


def prepare_folder(folder: Path, digest: str, settings: Mapping[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """Add the plan to the folder's manifest, which may hold others, as its latest, and return it. A manifest that cannot be
    read is written anew: the parts themselves name their plans."""
    try:
        plans = part_store.read_manifest(folder)["plans"]
    except (OSError, ValueError, KeyError, TypeError):
        plans = {}
    manifest = {"format": FORMAT, "latest": digest, "asked": asked, "plans": {**plans, digest: settings}}
    part_store.write_manifest(folder, manifest)
    part_store.repair(folder)
    return manifest


def stored_parts(folder: Path, digest: str) -> dict[tuple[int, str], Path]:
    """The parts of a plan by the number and the digest of their picture."""
    stored = {}
    for part in part_store.intact_parts(folder / PARTS):
        with contextlib.suppress(OSError, pa.ArrowException, ValueError, KeyError, TypeError):  # no part of a benchmark
            entry = part_store.read_metadata(part, ENTRY)
            if entry["plan"] == digest:
                stored[entry["number"], entry["picture"]] = part
    return stored


def read_part(part: Path) -> list[BenchmarkRow]:
    """The rows of one picture. Raises BadRequest where the part is no table of such rows."""
    rows: list[BenchmarkRow] = tables.read_parquet(part, ROWS.names, schema=ROWS).to_pylist()
    for row in rows:
        row["view"] = BOTH if row["view"] == BOTH else int(row["view"])
    return rows


def table(pictures: Sequence[Sequence[BenchmarkRow]], model: str, figures_of: str = "") -> list[TableLine]:
    """One line for each method, kind of pairs and metric: mean over pictures with its 95% interval, n, how many values are
    undefined (NaN), and the published figure where there is one, with the mean minus it. A picture's value is that of both
    views. Published figures are those of the model, or of the model `figures_of`.

    The interval is mean +- t s / sqrt(n), NaN for fewer than two pictures.
    """
    known = published(figures_of or model)
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
            "undefined": len(every) - len(defined), "published": known.get((method, metric), math.nan),
            "difference": mean - known.get((method, metric), math.nan),
        })  # fmt: skip
    order = [*PUBLISHED.values(), *PAIR_METHODS, *CONTROLS]

    def place(line: TableLine) -> tuple[int, str, str, int]:
        id = line["method"].partition(variants.AT)[0]
        return order.index(id), line["method"], line["pairs"], list(PAIR_METRICS).index(line["metric"])

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


def wide(lines: Sequence[TableLine]) -> pd.DataFrame:
    """The table as the paper sets it, as texts: a row for each method and kind of pairs, a column for each metric. A cell is
    the mean with half its 95% interval; in brackets the published figure, and the mean minus it."""
    metrics = [metric for metric in PAIR_METRICS if any(line["metric"] == metric for line in lines)]
    cells = {(line["method"], line["pairs"], line["metric"]): _cell(line) for line in lines}
    heads = {metric: heading(metric) for metric in metrics}
    return pd.DataFrame(
        {"method": method, "pairs": pairs} | {heads[metric]: cells.get((method, pairs, metric), "–") for metric in metrics}
        for method, pairs in dict.fromkeys((line["method"], line["pairs"]) for line in lines)
    )


def heading(metric: str) -> str:
    """A metric's column: its id, that of the paper where it differs, and an arrow up where higher is better."""
    theirs = f" ({COLUMNS[metric]})" if metric in COLUMNS else ""
    return f"{metric}{theirs} {'↑' if PAIR_METRICS[metric].up else '↓'}"


def note(lines: Sequence[TableLine]) -> str:
    """What the cells of `wide` are, in sentences."""
    undefined = sum(line["undefined"] for line in lines)
    return (
        "Mean ± half the 95% interval; in brackets the published figure, and the mean minus it. "
        f"{undefined} values were not defined (a drop from a similarity that is not positive, or a map whose values are all "
        "equal) and are left out. Occlusion, class activation maps and pixel invariance are measured on pairs of random "
        "crops, gradients on a picture and its combined transform, as in the paper. CIC is the paper's CID."
    )


def of_deviations(deviations: Sequence[Deviation]) -> pd.DataFrame:
    """The deviations as texts, a row for each."""
    return pd.DataFrame(
        {"setting": one.setting, "published": one.published, "here": one.here, "methods": in_words(one.methods)}
        for one in deviations
    )


def as_markdown(lines: Sequence[TableLine], title: str, deviations: Sequence[Deviation] = ()) -> str:
    """The table of `wide` as Markdown, with the settings that differ from the published ones below it."""
    parts = [title, "", *_markdown(wide(lines)), "", note(lines), ""]
    if deviations:
        parts += ["Settings that differ from the published ones:", "", *_markdown(of_deviations(deviations)), ""]
    return "\n".join(parts)


def _markdown(table: pd.DataFrame) -> list[str]:
    rows = [list(map(str, table.columns)), ["---"] * table.shape[1], *table.to_numpy(str).tolist()]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]


_SYMBOLS = {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$", "–": "--"}


def as_latex(lines: Sequence[TableLine], title: str, deviations: Sequence[Deviation] = ()) -> str:
    """The table of `wide` and the settings that differ, as LaTeX tables; they need the packages booktabs and graphicx."""
    tables = {f"{title} {note(lines)}": wide(lines)}
    tables |= {"Settings that differ from the published ones.": of_deviations(deviations)} if deviations else {}
    parts = []
    for caption, table in tables.items():
        rows = table.rename(columns=_latex).map(_latex).to_latex(index=False, column_format="l" * table.shape[1])
        parts += [
            r"\begin{table}", r"\caption{" + _latex(caption) + "}", r"\resizebox{\linewidth}{!}{%", rows.rstrip() + "}",
            r"\end{table}", "",
        ]  # fmt: skip
    return "\n".join(["% Needs \\usepackage{booktabs,graphicx}.", *parts])


def _latex(text: object) -> str:
    """A text in which nothing is a command of LaTeX."""
    plain = re.sub(r"([&%$#_{}])", r"\\\1", str(text).replace("\\", "/"))
    for symbol, command in {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", **_SYMBOLS}.items():
        plain = plain.replace(symbol, command)
    return plain


def _cell(line: TableLine) -> str:
    figure = "" if math.isnan(line["published"]) else f" ({line['published']:.3g})"
    if math.isnan(line["mean"]):
        return f"–{figure}"
    if figure:
        figure = f"{figure[:-1]}, {line['difference']:+.3f})"
    half = "" if math.isnan(line["high"]) else f" ± {line['high'] - line['mean']:.2g}"
    return f"{line['mean']:.3f}{half}{figure}"


def fitting(model: ExplainableModel, methods: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Those of the methods and variants that fit the network, and for each other one why it does not. Raises BadRequest for
    a cut that the network does not have, and for two variants that are one on it."""
    misfits = {name: pair_method_of(name).misfit(model) for name in methods}
    first: dict[str, str] = {}
    for name in methods:
        if misfits[name] is None:
            same = first.setdefault(_settled(model, name), name)
            if same != name:
                raise BadRequest(f"'{same}' and '{name}' are the same method on {model.title}: leave one out.")
    return tuple(name for name in methods if misfits[name] is None), [why for why in misfits.values() if why]


def _settled(model: ExplainableModel, name: str) -> str:
    """A variant with all of its settings on this model, as one text."""
    variant = find_pair_variant(name)
    try:
        cut = model.network.cut_name(variant.cut or None)
    except UnknownName as error:
        raise BadRequest(f"{name}: {error}") from None
    options = {**usual_options(model, variant.method.id), **variant.options}
    return f"{variant.method.id} {sorted(variant.method.checked(options).items())} {cut}"


def chosen_pictures(dataset: Dataset, count: int, seed: int) -> list[str]:
    """The names of `count` pictures drawn at random from `seed`, or of all where there are no more. Raises BadRequest."""
    if count < 1:
        raise BadRequest(f"The benchmark measures at least one picture, not {count}.")
    names = sorted(sample.name for sample in dataset.samples)
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
    return [names[int(index)] for index in order[:count]]
