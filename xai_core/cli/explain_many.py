"""`xai-core explain` of many pictures: a folder, another dataset, or a table of predictions."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from xai_core.cli import arguments
from xai_core.core import remote
from xai_core.core.errors import BadPicture, BadRequest, XaiError
from xai_core.data import samples

if TYPE_CHECKING:
    import pandas as pd

    from xai_core.data.datasets import Dataset
    from xai_core.explanation.result import Explanation
    from xai_core.models.explainable import ExplainableModel

USUAL_MODEL = "efficientnet_lite0"
LABEL, PREDICTED = "label", "predicted"  # targets that differ from picture to picture
CHOICE = ("errors", "count", "true", "predicted", "data")  # arguments that only many pictures have
MAP_BYTES = 64 * 2**20  # of one stored map


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments that choose among many pictures."""
    command.set_defaults(model=None)  # of a table of predictions: the one that made it
    many = command.add_argument_group(
        "many pictures",
        "IMAGE may be a folder of pictures or of class subfolders, a ZIP or table of them, a world, or a file that "
        "`classify` wrote (with --data). The same command again computes only the maps that are missing. --target may be "
        "'predicted' (default) or 'label', the class of each picture's label.",
    )
    many.add_argument("--data", metavar="DATA", help="the dataset that the predictions are of")
    many.add_argument("--errors", action="store_true", help="only wrong predictions, the most confident first")
    many.add_argument("--count", type=int, metavar="N", help="N of these pictures, drawn at random with the seed")
    many.add_argument("--true", metavar="CLASS", help="only pictures of this class")
    many.add_argument("--predicted", metavar="CLASS", help="only pictures that are predicted as this class")


def are_many(source: str) -> bool:
    """Whether the argument IMAGE names more than one picture."""
    from xai_core.data.datasets import TABLES, WORLD
    from xai_core.data.image_io import SUFFIXES

    path = Path(source)
    if remote.is_address(source):
        return path.suffix.lower() not in SUFFIXES
    if source in samples.SAMPLES and not path.exists():
        return False
    return source.startswith(WORLD) or path.is_dir() or (path.suffix.lower() in (".zip", *TABLES) and path.is_file())


def refuse_choice(args: argparse.Namespace) -> None:
    """Raises BadRequest where an argument for many pictures is given with one, and sets the usual model."""
    for name in CHOICE:
        if getattr(args, name):
            raise BadRequest(f"--{name} chooses among many pictures, and {args.image} is one.")
    args.model = args.model or USUAL_MODEL


class Classified(NamedTuple):
    """Predictions of a dataset's pictures; `unreadable` are files without one, with the reasons."""

    rows: pd.DataFrame
    unreadable: list[tuple[str, str]]


def run(args: argparse.Namespace) -> None:
    """Explain the chosen pictures of a dataset or of a table of predictions."""
    from xai_core.analysis import map_sheet
    from xai_core.explanation import export
    from xai_core.explanation.result import Explanation

    method, options = arguments.variant(args)
    if args.count is not None and args.count < 1:
        raise BadRequest(f"--count is at least 1, not {args.count}.")
    name = re.sub(r"[^\w.-]+", "-", Path(args.image).resolve().stem)
    stem = f"{name}_{method.id}"
    folder = args.out / f"{stem}_maps"
    table, dataset, model = opened(args)
    own = {None: map_sheet.PREDICTED, PREDICTED: map_sheet.PREDICTED, LABEL: map_sheet.TRUE}.get(args.target)
    target: str | int = model.class_index(args.target) if own is None else own
    settings = {"rival": args.rival, "cut": args.cut, "precision": args.precision, "seed": args.seed}
    map_sheet.request_of(model, [], [], method.id, options, **settings)  # what is wrong with it is said before long work
    if table is None:
        rows, unreadable = _classify(args, model, dataset, args.out / f"{stem}_predictions.parquet")
    else:
        rows, unreadable = read(args, table, model, dataset)
    rows = map_sheet.chosen(
        rows, errors=args.errors, true=_class(model, args.true), predicted=_class(model, args.predicted), count=args.count,
        seed=args.seed,
    )  # fmt: skip
    if args.errors or args.predicted:
        unreadable = []  # what was not predicted is neither
    results: dict[str, Explanation | XaiError] = {}
    kept: set[str] = set()

    def stored(path: str, key: str) -> Explanation | None:
        found = _stored(folder / f"{map_sheet.file_name(path)}.npz", key)
        if found is not None:
            kept.add(path)
        return found

    for path, result in map_sheet.explain_rows(
        model, dataset, rows, method.id, options, target=target, stored=stored, track=arguments.bar, **settings
    ):
        results[path] = result
        if isinstance(result, Explanation) and path not in kept:
            name = map_sheet.file_name(path)
            text = export.json_text(result, _patches(model, dataset, path, result))
            export.write_atomically(folder / f"{name}.json", text.encode())
            export.write_atomically(folder / f"{name}.npz", export.npz_bytes(result))
    maps = [result for result in results.values() if isinstance(result, Explanation)]
    if not maps:
        reason = next(iter(results.values()), None) or (unreadable[0][1] if unreadable else "no picture was chosen")
        raise BadRequest(f"None of these pictures has a map. The first reason: {reason}")
    scale = map_sheet.scale_of(maps)
    described = _settings(args, model, dataset, maps[0], scale.words if scale else "")
    title = f"{method.title} for the {_target_words(args.target)}: {model.title} on {dataset.title}"
    notes = [
        f"Model: {model.id} ({model.fingerprint}). Method: {method.title} ({_options(maps[0])}){_cut(maps[0])}, "
        f"{args.precision} precision, seed {args.seed}. Maps: {len(maps):,} of {len(results) + len(unreadable):,} pictures."
    ]
    files: dict[str, bytes] = {}
    for number, page in enumerate(map_sheet.sheets(dataset, rows, results, title, scale, notes), 1):
        name = f"{stem}.png" if number == 1 else f"{stem}_{number}.png"
        files[name] = export.png_with(page, export.strict_json(described))
    for path, overlay in map_sheet.overlays(dataset, results, scale):
        name = map_sheet.file_name(path)
        result = results[path]
        assert isinstance(result, Explanation)
        export.write_atomically(folder / f"{name}-overlay.png", export.png_bytes(overlay, result))
    files[f"{stem}.csv"] = map_sheet.csv(rows, results, unreadable)
    files[f"{stem}.json"] = export.strict_json(described).encode()
    for old in args.out.glob(f"{stem}_[0-9]*.png"):  # of an earlier run with more pictures
        if old.name not in files:
            old.unlink()
    without = len(results) - len(maps) + len(unreadable)
    lines = [f"{len(maps):,} maps, {len(kept):,} of them from an earlier run. Colours: {scale.words if scale else ''}."]
    lines += [f"Without a map: {without:,} of {len(results) + len(unreadable):,}; the CSV says why."] if without else []
    arguments.write(files, args.out, *lines)
    print(folder)


def opened(args: argparse.Namespace) -> tuple[Path | None, Dataset, ExplainableModel]:
    """The table of predictions, if one is given, the dataset and the model."""
    from xai_core.data.datasets import TABLES, open_dataset
    from xai_core.data.predictions import are_predictions
    from xai_core.models.loading import load_model

    source = Path(args.image)
    if source.suffix.lower() in TABLES and are_predictions(source):
        if not args.data:
            raise BadRequest(f"{args.image} holds predictions: name the dataset that they are of with --data.")
        dataset, usual = open_dataset(args.data), _settings_of(source).get("model", USUAL_MODEL)
        return source, dataset, load_model(args.model or usual, args.weights)
    if args.data:
        raise BadRequest(f"--data goes with a file that `classify` wrote, and {args.image} is none.")
    return None, open_dataset(args.image), load_model(args.model or USUAL_MODEL, args.weights)


def _settings_of(table: Path) -> Mapping[str, Any]:
    """What a Parquet file says of its predictions; a CSV file says nothing."""
    from xai_core.data.predictions import settings_of

    return settings_of(table) if table.suffix.lower() == ".parquet" else {}


def read(args: argparse.Namespace, source: Path, model: ExplainableModel, dataset: Dataset) -> Classified:
    """The predictions in a table, where they are of this model. Raises BadRequest where they are not."""
    from xai_core.data.predictions import read_table

    settings, table, known = _settings_of(source), read_table(source), range(len(model.class_names))
    for index, name in table[["predicted_index", "predicted"]].drop_duplicates().itertuples(index=False):
        if index not in known or model.class_name(index) != name:
            raise BadRequest(f"{source} holds predictions of another model than {model.id}; name it with --model.")
    if settings.get("weights", model.fingerprint) != model.fingerprint:
        raise BadRequest(f"{source} was made with other weights of {model.id}; name them with --weights.")
    if settings.get("dataset_digest", dataset.digest) != dataset.digest:
        print(f"Caution: {args.data} is not as it was when {source} was written.", file=sys.stderr)
    return Classified(table, [(name, why) for name, why in settings.get("unreadable", [])])


def _classify(args: argparse.Namespace, model: ExplainableModel, dataset: Dataset, file: Path) -> Classified:
    """Classify the pictures that are asked for; all of them only where the choice depends on what is predicted."""
    from xai_core.data.label_matching import match_classes
    from xai_core.data.predictions import read_table
    from xai_core.data.selection import sample_images

    if args.errors and not dataset.classes:
        raise BadRequest(f"{dataset.title} has no labels, so that no prediction is wrong. Leave --errors out.")
    if not model.has_classifier:
        raise BadRequest(f"{model.title} predicts no classes. Choose another model, or train a probe.")
    matching = match_classes(dataset.classes, model)
    if args.true:
        wanted = model.class_index(args.true)
        dataset = replace(dataset, samples=tuple(one for one in dataset.samples if matching.index.get(one.label) == wanted))
    if args.count and not (args.errors or args.predicted):
        drawn = {sample.name for sample in sample_images(dataset, args.count, args.seed)}
        dataset = replace(dataset, samples=tuple(one for one in dataset.samples if one.name in drawn))
    if not dataset.samples:
        raise BadRequest("No picture of this dataset has such a label.")
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise XaiError(f"Cannot write {args.out}: {error.strerror or error}.") from None
    arguments.say(dataset.in_words())
    progress = arguments.classify(model, dataset, file, matching)
    return Classified(read_table(file), list(progress.unreadable))


def _patches(model: ExplainableModel, dataset: Dataset, path: str, map: Explanation) -> dict[str, Any] | None:
    """The patches of outlying norm, as the JSON of one picture has them; None for a network without attention."""
    from xai_core.attribution.outlying_patches import outlying_patches
    from xai_core.models.staged import Attention

    if model.network.attention == Attention():  # the picture is not opened again
        return None
    try:
        prepared = model.prepare(dataset.open(path))
    except BadPicture:  # it has gone since it was explained
        return None
    found = outlying_patches(model, map, prepared)
    return {"outlying_patches": found.settings()} if found else None


def _class(model: ExplainableModel, name: str | None) -> int | None:
    return None if name is None else model.class_index(name)


def _stored(file: Path, key: str) -> Explanation | None:
    """The map in a file of an earlier run, where it is the answer to the request of this key."""
    from xai_core.core.files import read_regular
    from xai_core.explanation import export

    try:
        found = export.read_npz(read_regular(file, MAP_BYTES))
    except (OSError, XaiError):
        return None
    return found if found.key == key else None


def _target_words(target: str | None) -> str:
    return {None: "predicted class", PREDICTED: "predicted class", LABEL: "class of the label"}.get(
        target, f"class {target}"
    )


def _options(map: Explanation) -> str:
    return ", ".join(f"{name} {value}" for name, value in map.options.items()) or "no options"


def _cut(map: Explanation) -> str:
    return f" at {map.cut}" if map.cut else ""


def _settings(
    args: argparse.Namespace, model: ExplainableModel, dataset: Dataset, map: Explanation, words: str
) -> dict[str, Any]:
    from xai_core.core.version import __version__

    return {
        "model": model.id, "weights": model.fingerprint, "dataset": dataset.title, "dataset_digest": dataset.digest,
        "method": map.method, "version": map.version, "options": map.options, "cut": map.cut, "precision": map.precision,
        "seed": map.seed, "target": args.target or PREDICTED, "rival": args.rival, "colours": words,
        "choice": {name: getattr(args, name) for name in CHOICE}, "software": {"xai_core": __version__},
    }  # fmt: skip
