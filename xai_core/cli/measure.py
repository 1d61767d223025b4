"""`xai-core measure`: maps of networks and methods and their scores, beside controls, of one picture or of many."""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from xai_core.cli import arguments, explain_many
from xai_core.cli.arguments import Commands
from xai_core.core.errors import BadRequest, XaiError

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    from xai_core.analysis.scored_maps import ScoredMaps
    from xai_core.data.world.scene import Scene
    from xai_core.metrics.measure import Measurement
    from xai_core.models.explainable import ExplainableModel

Metrics = dict[str, dict[str, Any]]  # options by metric
MOST_SHEETS = 200  # of many pictures; the CSV has all


def add_to(commands: Commands) -> None:
    """Add the command `measure`."""
    command = commands.add_parser(
        "measure",
        help="measure the maps of some methods and networks on one picture or on many, beside controls: sheet PNG and CSV",
    )
    arguments.add_query(command, out_required=False)
    command.add_argument("--models", help="several networks, comma-separated; id/random is an untrained twin")
    command.add_argument(
        "--method", default="grad_cam", help="comma-separated ids or variants (grad_cam@cut=layer3+eigen=true), see: methods"
    )
    command.add_argument("--metric", default="quick", help="comma-separated ids, or a preset: quick, published, all")
    command.add_argument(
        "--option", action="append", default=[], metavar="METRIC.NAME=VALUE", help="an option of a metric: deletion.steps=32"
    )
    command.add_argument("--box", help="left,top,right,bottom in the picture's pixels, for metrics of localisation")
    command.add_argument("--count", type=int, metavar="N", help="of many pictures: N of them, drawn at random with the seed")
    command.add_argument(
        "--self-test", action="store_true", help="also test whether each metric can be trusted on this picture"
    )
    command.set_defaults(run=_measure)


def _measure(args: argparse.Namespace) -> None:
    from xai_core.attribution import variants

    metrics, box = _metrics(args.metric, args.option), _box(args.box)
    chosen = variants.parse_all(arguments.names(args.method), args.precision)
    methods: Metrics = {name: dict(variant.options) for name, variant in chosen.items()}
    if not methods:
        raise BadRequest("Name at least one method, see: methods.")
    many = explain_many.are_many(args.image)
    for name, given in (("--box", args.box), ("--self-test", args.self_test)):
        if many and given:
            raise BadRequest(f"{name} is for one picture, and {args.image} is many.")
    if args.count is not None and (not many or args.count < 1):
        raise BadRequest("--count chooses among many pictures, and is at least 1.")
    if many and not args.out:
        raise BadRequest("Name the folder for the sheets and the CSV of many pictures with --out.")
    models = _models(args)
    variants.check_on([*chosen.values()], models)
    (_many if many else _one)(args, Work(models, methods, metrics, box, args))


class Work(NamedTuple):
    """What is measured of each picture."""

    models: Mapping[str, ExplainableModel]
    methods: Metrics
    metrics: Metrics
    box: tuple[float, float, float, float] | None
    args: argparse.Namespace

    def scored(self, name: str, picture: Image.Image, scene: Scene | None = None) -> Iterator[ScoredMaps]:
        """One network's maps and scores, as they come."""
        from xai_core.analysis.scored_maps import score_maps

        return score_maps(
            name, self.models[name], picture, self.methods, self.metrics,
            target=self.args.target, rival=self.args.rival, box=self.box, scene=scene, precision=self.args.precision,
            seed=self.args.seed, track=arguments.bar,
        )  # fmt: skip


def _models(args: argparse.Namespace) -> dict[str, ExplainableModel]:
    """The networks by the names that they are given. Raises XaiError."""
    from xai_core.evaluation.runner import load_named
    from xai_core.models.loading import load_model

    if not args.models:
        return {args.model: load_model(args.model, args.weights)}
    if args.weights:
        raise BadRequest("--weights goes with --model; with --models, write id/weights.")
    return {name: load_named(name) for name in arguments.names(args.models)}


def _one(args: argparse.Namespace, work: Work) -> None:
    """Measure one picture; each measurement is printed as soon as it is ready."""
    from xai_core.analysis import scored_maps
    from xai_core.core import spreadsheet
    from xai_core.explanation import export
    from xai_core.metrics import tables
    from xai_core.metrics.measure import total_cost

    picture = arguments.picture(args.image)
    scored: list[ScoredMaps] = []
    arguments.say(
        f"about {len(work.models) * sum(total_cost(work.metrics, work.methods)):,} passes, beside those for the maps"
    )
    failed: dict[str, str] = {}
    for name in work.models:
        said = 0
        try:
            for found in work.scored(name, picture):
                if not found.scores:
                    arguments.say(f"{name}: {found.target} = {found.value:.4g}")
                    _say_failed(found)
                for (of, key), measurement in list(found.scores.items())[said:]:
                    _print_row(of, key, measurement)
                said = len(found.scores)
        except XaiError as error:
            if len(work.models) == 1:
                raise
            failed[name] = str(error)
            arguments.say(f"{name}: failed: {error}")
        else:
            scored.append(found)
    if not any(len(one.explanations) > 1 for one in scored):  # beside the control
        raise BadRequest("No map could be computed with any of these methods.")
    if args.self_test:
        _self_test(work, picture)
    if args.out:
        stem = f"{Path(args.image).stem}_metrics"
        records = [
            {"model": one.network, **record}
            for one in scored
            for record in tables.records([(name, key, score) for (name, key), score in one.scores.items()], work.metrics)
        ]
        table = scored_maps.table(args.image, scored, work.metrics, failed)
        arguments.write(
            {
                f"{stem}.csv": spreadsheet.csv_bytes(table),
                f"{stem}.json": export.strict_json(records).encode(),
                f"{stem}.png": _sheet(work, args.image, picture, scored),
            },
            args.out,
        )


def _many(args: argparse.Namespace, work: Work) -> None:
    """Measure many pictures: a sheet for each of the first ones, and one CSV that grows picture by picture. The same command
    again goes on behind the last picture that was finished."""
    from xai_core.analysis import map_sheet, scored_maps
    from xai_core.core.errors import BadPicture
    from xai_core.core.files import write_atomically
    from xai_core.data.datasets import open_dataset
    from xai_core.data.selection import sample_images

    dataset = open_dataset(args.image)
    samples = list(dataset.samples) if args.count is None else sample_images(dataset, args.count, args.seed)
    name = re.sub(r"[^\w.-]+", "-", Path(args.image).resolve().stem)
    file, folder = args.out / f"{name}_metrics.csv", args.out / f"{name}_metrics"
    done, append = _table(file, folder / "progress.json", _key(work, dataset.digest, [sample.name for sample in samples]))
    if done.pictures:
        arguments.say(f"{done.pictures:,} of {len(samples):,} pictures are from an earlier run")
    for place, sample in enumerate(samples[done.pictures :], done.pictures + 1):
        scored: list[ScoredMaps] = []
        failed: dict[str, str] = {}
        try:
            picture = dataset.open(sample.name)
        except BadPicture as error:
            done = append(scored_maps.table(sample.name, [], work.metrics, {"": str(error)}), done, unread=1)
            arguments.say(f"{place} of {len(samples)}  {sample.name}: {error}")
            continue
        scene = dataset.scene(sample.name) if dataset.scene else None
        for network in work.models:
            try:
                *_, found = work.scored(network, picture, scene)
            except XaiError as error:
                failed[network] = str(error)
            else:
                scored.append(found)
        drawn = bool(scored) and done.sheets < MOST_SHEETS
        if drawn:
            sheet = folder / f"{map_sheet.file_name(sample.name)}.png"
            write_atomically(sheet, _sheet(work, sample.name, picture, scored))
        done = append(scored_maps.table(sample.name, scored, work.metrics, failed), done, sheets=int(drawn))
        arguments.say(f"{place} of {len(samples)}  {sample.name}")
    read = len(samples) - done.unread
    print(f"{read:,} of {len(samples):,} pictures read; {done.sheets:,} sheets, {MOST_SHEETS} at most.")
    print(file, folder, sep="\n")


class Done(NamedTuple):
    """How far a run over many pictures is: pictures whose rows are in the CSV, those of them that could not be read, sheets,
    and the length of the CSV in bytes."""

    pictures: int = 0
    unread: int = 0
    sheets: int = 0
    size: int = 0


def _key(work: Work, data: str, names: Sequence[str]) -> str:
    """What decides the rows of a run, as a digest."""
    from xai_core.core.cache_key import text_digest
    from xai_core.core.version import __version__

    models = {name: model.fingerprint for name, model in work.models.items()}
    args = work.args
    return text_digest(repr(
        (__version__, models, work.methods, work.metrics, args.target, args.rival, args.precision, args.seed, data, names)
    ))  # fmt: skip


def _table(file: Path, record: Path, key: str) -> tuple[Done, Callable[..., Done]]:
    """How far the CSV is, and a function that adds a picture's rows and notes that they are there.

    What stands behind the last noted picture is cut off: a run that was killed may have written half of it. Raises
    BadRequest where the file holds the rows of other settings, XaiError where it cannot be written.
    """
    from xai_core.core import spreadsheet
    from xai_core.core.files import parse_json, write_atomically

    done = Done()
    if file.exists() and record.exists():
        try:
            noted = parse_json(record.read_bytes())
            known, done = noted["key"], Done(**noted["done"])
        except (ValueError, KeyError, TypeError):
            raise BadRequest(f"{record} is damaged. Name another folder with --out, or remove it.") from None
        if known != key:
            raise BadRequest(f"{file} holds the rows of other settings. Name another folder with --out, or remove it.")
        if file.stat().st_size < done.size:  # somebody has changed it
            done = Done()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as stream:
            stream.truncate(done.size)
    except OSError as error:
        raise XaiError(f"Cannot write {file}: {error.strerror or error}.") from None

    def append(table: pd.DataFrame, done: Done, unread: int = 0, sheets: int = 0) -> Done:
        try:
            with file.open("ab") as stream:
                stream.write(spreadsheet.csv_bytes(table, header=not done.size))
                size = stream.tell()
        except OSError as error:
            raise XaiError(f"Cannot write {file}: {error.strerror or error}.") from None
        now = Done(done.pictures + 1, done.unread + unread, done.sheets + sheets, size)
        write_atomically(record, json.dumps({"key": key, "done": now._asdict()}).encode())
        return now

    return done, append


def _sheet(work: Work, name: str, picture: Image.Image, scored: Sequence[ScoredMaps]) -> bytes:
    """The sheet as PNG, with the settings inside."""
    from xai_core.analysis import scored_maps
    from xai_core.core.version import __version__
    from xai_core.explanation import export

    settings = {
        "picture": name, "models": {one: model.fingerprint for one, model in work.models.items()},
        "methods": list(work.methods), "metrics": work.metrics, "target": work.args.target, "rival": work.args.rival,
        "precision": work.args.precision, "seed": work.args.seed, "software": {"xai_core": __version__},
    }  # fmt: skip
    title = f"{name}: {work.args.precision} precision, seed {work.args.seed}."
    return export.png_with(scored_maps.sheet(picture, scored, work.metrics, title), export.strict_json(settings))


def _say_failed(found: ScoredMaps) -> None:
    for name, result in found.maps.items():
        if isinstance(result, XaiError):
            print(f"{name:<30}failed: {result}")


def _print_row(name: str, key: str, measurement: Measurement) -> None:
    from xai_core.metrics.catalog import find_metric
    from xai_core.metrics.measure import unbeaten_controls

    metric = find_metric(key)
    value = "–" if math.isnan(measurement.value) else f"{measurement.value:.4g}"
    controls = unbeaten_controls(metric, measurement)
    note = measurement.note or (f"no better than {', '.join(controls)}" if controls else "")
    arguments.say(f"{key:<36}{metric.arrow:<2}{name:<26}{value:>10}  {note}".rstrip())


def _self_test(work: Work, picture: Image.Image) -> None:
    from xai_core.attribution.explain import request_for
    from xai_core.metrics.self_test import self_test

    for name, model in work.models.items():
        if len(work.models) > 1:
            arguments.say(f"{name}:")
        asked = request_for(model, [picture], target=work.args.target, rival=work.args.rival).activate().question.target
        for verdict in self_test(model, picture, work.metrics, asked, seed=work.args.seed, track=arguments.bar):
            arguments.say(f"self-test {verdict.metric:<26}{verdict.message}")


def _metrics(names: str, options: Sequence[str]) -> Metrics:
    """The metrics by name, each with its options. Raises BadRequest, UnknownName."""
    from xai_core.metrics.catalog import METRICS, PRESETS, find_metric

    presets: dict[str, Metrics] = {**PRESETS, "all": {name: {} for name in METRICS}}
    wanted = presets.get(names) or {name.strip(): {} for name in names.split(",")}
    metrics = {name if "@" in name else find_metric(name).id: dict(preset) for name, preset in wanted.items()}
    for name, value in arguments.options(options).items():
        metric, dot, option = name.rpartition(".")
        if not dot or metric not in metrics:
            raise BadRequest(f"An option is given as METRIC.NAME=VALUE, METRIC one of {', '.join(metrics)}; not '{name}'.")
        metrics[metric][option] = value
    return metrics


def _box(text: str | None) -> tuple[float, float, float, float] | None:
    if text is None:
        return None
    try:
        left, top, right, bottom = (float(number) for number in text.split(","))
    except ValueError:
        raise BadRequest(f"A box is given as left,top,right,bottom in the picture's pixels, not '{text}'.") from None
    return left, top, right, bottom
