"""`python -m xai_core compare-models` and `probe`: several networks before one picture or many; classes of one's own."""

import argparse
import csv
import io
import json
from pathlib import Path
from typing import Any

from xai_core.cli import arguments
from xai_core.core import settings
from xai_core.core.errors import BadRequest


def add_to(parsers) -> None:
    compare = parsers.add_parser("compare-models", help="several networks on one picture, or on a folder of them")
    compare.add_argument("image", metavar="IMAGE", help="a picture, a folder of pictures, or one of the samples")
    compare.add_argument("--models", required=True, help="ids with commas between; id/random is an untrained twin")
    compare.add_argument("--method", default="grad_cam", help="see: methods")
    compare.add_argument("--target", help="a class, found by its name in each network (default: each one's own top class)")
    compare.add_argument("--reference", help="a picture: explain the similarity to it, with classes or without")
    compare.add_argument("--out", type=Path, required=True, metavar="DIR")
    compare.set_defaults(run=_compare)

    probe = parsers.add_parser("probe", help="train a linear classifier on a network's features, from a labelled folder")
    probe.add_argument("folder", metavar="FOLDER", type=Path, help="with one subfolder of pictures for each class")
    probe.add_argument("--model", required=True, help="see: models")
    probe.add_argument("--weights", help="one of the model's checkpoints (default: its first)")
    probe.add_argument("--name", required=True, help="the id of the new model")
    probe.add_argument("--seed", type=int, default=0, help="draws the held-out fifth")
    probe.set_defaults(run=_probe)


def _load(name: str) -> Any:
    from xai_core.models.loading import load_model

    id, _, checkpoint = name.partition("/")
    return load_model(id, checkpoint or None)


def _compare(given: argparse.Namespace) -> None:
    models = [name.strip() for name in given.models.split(",") if name.strip()]
    if len(models) < 2:
        raise BadRequest("Name at least two models, with a comma between.")
    asked = {"target": given.target, "reference": arguments.picture(given.reference) if given.reference else None}
    many = Path(given.image).is_dir()
    (_many if many else _one)(given, models, asked)


def _one(given: argparse.Namespace, models: list[str], asked: dict[str, Any]) -> None:
    from xai_core.analysis import compare_models
    from xai_core.explanation import agreement, export, rendering
    from xai_core.explanation.result import Explanation

    picture, answers = arguments.picture(given.image), []
    for answer in compare_models.ask_models(models, picture, given.method, load=_load, **asked):
        answers.append(answer)
        best = (
            f"{answer.predictions[0].probability:.1%} {answer.predictions[0].name}" if answer.predictions else "no classes"
        )
        found = answer.explanation
        said = f"{found.target} = {found.target_value:.4g}" if isinstance(found, Explanation) else f"failed: {found}"
        print(f"{models[len(answers) - 1]:<34}{best}; {said}", flush=True)
    maps = {
        name: answer.explanation
        for name, answer in zip(models, answers, strict=True)
        if isinstance(answer.explanation, Explanation)
    }
    if not maps:
        raise BadRequest("None of these networks gave a map.")
    matrix = agreement.agreement(list(maps.values()))
    for name, line in zip(maps, matrix, strict=True):
        print(f"{name:<34}" + " ".join(f"{value:6.2f}" for value in line) + "   rank correlation")
    drawn = {f"{name}: {one.target}": rendering.overlay(one, picture) for name, one in maps.items()}
    settings = {
        "agreement": {"networks": list(maps), "spearman": matrix.round(6).tolist()},
        "networks": {
            name: {
                "predictions": [one._asdict() for one in answer.predictions],
                "explanation": answer.explanation.settings() if name in maps else str(answer.explanation),
            }
            for name, answer in zip(models, answers, strict=True)
        },
    }
    stem = f"{Path(given.image).stem}_networks_{given.method}"
    arguments.write(
        {
            f"{stem}.png": export.png_bytes(rendering.sheet({"picture": picture} | drawn), next(iter(maps.values()))),
            f"{stem}.npz": export.npz_of_many(maps),
            f"{stem}.json": json.dumps(settings, indent=2).encode(),
        },
        given.out,
    )


def _many(given: argparse.Namespace, models: list[str], asked: dict[str, Any]) -> None:
    from xai_core.analysis import compare_models
    from xai_core.data.image_io import SUFFIXES

    folder = Path(given.image)
    pictures = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES}
    if not pictures:
        raise BadRequest(f"There is no picture in {folder}.")
    rows = compare_models.compare_on(models, pictures, given.method, load=_load, track=arguments.bar, **asked)
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]))
    table.writeheader()
    table.writerows(rows)
    for row in rows[:10]:
        print(f"{row['map agreement']:6.2f}  {row['picture']}")
    arguments.write({f"{folder.name}_networks_{given.method}.csv": text.getvalue().encode()}, given.out)


def _probe(given: argparse.Namespace) -> None:
    from xai_core.models.loading import load_model
    from xai_core.training import linear_probe

    model = load_model(given.model, given.weights)
    probe = linear_probe.train_probe(model, given.folder, seed=given.seed, track=arguments.bar)
    for line in probe.unreadable:
        print(f"left out: {line}")
    print(
        linear_probe.in_words(probe),
        linear_probe.save_probe(probe, given.model, given.name, settings.weights_folder()),
        sep="\n",
    )
