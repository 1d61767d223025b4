"""`xai-core compare-models`: compare networks on one picture, or on a folder of pictures."""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from xai_core.cli import arguments
from xai_core.cli.arguments import Commands
from xai_core.core.errors import BadRequest

if TYPE_CHECKING:
    from PIL import Image


def add_to(commands: Commands) -> None:
    """Add the command `compare-models`."""
    command = commands.add_parser("compare-models", help="compare networks on one picture, or on a folder of pictures")
    command.add_argument("image", metavar="IMAGE", help="a picture, a folder of pictures, or one of the samples")
    command.add_argument("--models", required=True, help="comma-separated ids; id/random is an untrained twin")
    command.add_argument(
        "--method", default="grad_cam", help="id of a method, see: methods; or a variant: grad_cam@eigen=true"
    )
    command.add_argument("--target", help="a class, found by its name in each network (default: each one's own top class)")
    command.add_argument("--reference", help="explain the similarity to this picture; needs no classes")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the files")
    command.set_defaults(run=_compare)


def _compare(args: argparse.Namespace) -> None:
    models = arguments.names(args.models)
    if len(models) < 2:
        raise BadRequest("Name at least two models, with a comma between.")
    reference = arguments.picture(args.reference) if args.reference else None
    (_on_folder if Path(args.image).is_dir() else _on_picture)(args, models, reference)


def _on_picture(args: argparse.Namespace, models: list[str], reference: Image.Image | None) -> None:
    from xai_core.analysis import compare_models
    from xai_core.evaluation.runner import load_named
    from xai_core.explanation import agreement, export, rendering
    from xai_core.explanation.result import Explanation

    picture = arguments.picture(args.image)
    maps: dict[str, Explanation] = {}
    networks = {}
    answers = compare_models.ask_models(
        models, picture, args.method, load=load_named, target=args.target, reference=reference
    )
    for name, answer in zip(models, answers, strict=True):
        top = answer.predictions[0] if answer.predictions else None
        result = answer.explanation
        if isinstance(result, Explanation):
            maps[name] = result
            outcome = f"{result.target} = {result.target_value:.4g}"
        else:
            outcome = f"failed: {result}"
        arguments.say(f"{name:<34}{f'{top.probability:.1%} {top.name}' if top else 'no classes'}; {outcome}")
        networks[name] = {
            "predictions": [prediction._asdict() for prediction in answer.predictions],
            "explanation": result.settings() if isinstance(result, Explanation) else str(result),
        }
    if not maps:
        raise BadRequest("No map could be computed with any of these networks.")
    matrix = agreement.agreement(list(maps.values()))
    for name, line in zip(maps, matrix, strict=True):
        print(f"{name:<34}" + " ".join(f"{value:6.2f}" for value in line) + "   rank correlation")
    overlays = {f"{name}: {map.target}": rendering.overlay(map, picture) for name, map in maps.items()}
    settings = {"agreement": {"networks": list(maps), "spearman": matrix.round(6).tolist()}, "networks": networks}
    stem = f"{Path(args.image).stem}_networks_{_in_a_name(args.method)}"
    files = {
        f"{stem}.png": export.png_bytes(rendering.sheet({"picture": picture} | overlays), next(iter(maps.values()))),
        f"{stem}.npz": export.npz_of_many(maps),
        f"{stem}.json": json.dumps(settings, indent=2).encode(),
    }
    arguments.write(files, args.out)


def _in_a_name(method: str) -> str:
    return re.sub(r"[^\w.-]+", "-", method)


def _on_folder(args: argparse.Namespace, models: list[str], reference: Image.Image | None) -> None:
    from xai_core.analysis import compare_models
    from xai_core.data.image_io import SUFFIXES
    from xai_core.evaluation.runner import load_named

    folder = Path(args.image)
    pictures = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES}
    if not pictures:
        raise BadRequest(f"There is no picture in {folder}.")
    rows = compare_models.compare_on(
        models, pictures, args.method, load=load_named, track=arguments.bar, target=args.target, reference=reference
    )
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]))
    table.writeheader()
    table.writerows(rows)
    for row in rows[:10]:
        print(f"{row['map agreement']:6.2f}  {row['picture']}")
    arguments.write({f"{folder.name}_networks_{_in_a_name(args.method)}.csv": text.getvalue().encode()}, args.out)
