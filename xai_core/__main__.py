"""The same work without a browser: `python -m xai_core --help`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from xai_core import samples
from xai_core.errors import BadRequest, XaiError
from xai_core.models import weights
from xai_core.models.catalog import CARDS
from xai_core.version import __version__


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadRequest(f"{message} (see: {self.prog} --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, or 2 with one line on the standard error."""
    try:
        given = _parser().parse_args(arguments)
        given.run(given)
    except XaiError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)  # one line, whatever was typed
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m xai_core", description="Why an image model decided as it did.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    explain = commands.add_parser("explain", help="explain one picture: overlay PNG, raw NPZ and JSON")
    explain.add_argument("image", metavar="IMAGE", help=f"a picture, or one of the samples: {', '.join(samples.SAMPLES)}")
    explain.add_argument("--model", default="efficientnet_lite0", help="see: models")
    explain.add_argument("--weights", help="one of the model's checkpoints, or 'random' (default: its first)")
    explain.add_argument("--method", default="grad_cam", help="see: methods")
    explain.add_argument("--target", help="a class by name, index or WordNet id (default: the predicted one)")
    explain.add_argument("--rival", help="a second class: explain 'target and not rival'")
    explain.add_argument("--cut", help="where CAMs look (default: the model's)")
    explain.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the method")
    explain.add_argument("--precision", default="exact", help="exact or fast")
    explain.add_argument("--seed", type=int, default=0)
    explain.add_argument("--out", type=Path, required=True, metavar="DIR")
    explain.set_defaults(run=_explain)

    for name, run in {"methods": _methods, "models": _models}.items():
        command = commands.add_parser(name, help=f"list the {name}")
        command.add_argument("--json", action="store_true", help="as JSON")
        command.set_defaults(run=run)
    return parser


def _explain(given: argparse.Namespace) -> None:
    from tqdm import tqdm

    from xai_core import exporting, rendering
    from xai_core.explaining import explain_methods
    from xai_core.models.loading import load_model
    from xai_core.pictures import open_picture

    options = _options(given.option)
    is_sample = given.image in samples.SAMPLES and not Path(given.image).exists()
    picture = samples.load_sample(given.image) if is_sample else open_picture(given.image)
    model = load_model(given.model, given.weights)
    asked = explain_methods(  # keeps options apart from its own parameters: there is no `--option target=3`
        model,
        picture,
        {given.method: options},
        target=given.target,
        rival=given.rival,
        cut=given.cut,
        precision=given.precision,
        seed=given.seed,
        track=lambda batches: tqdm(batches, leave=False, disable=None),  # silent where nobody watches
    )
    _, found = next(asked)
    stem = f"{Path(given.image).stem}_{found.method}"
    drawn = rendering.overlay(found, picture)
    files = {
        f"{stem}_overlay.png": exporting.png_bytes(drawn, found),
        f"{stem}.npz": exporting.npz_bytes(found),
        f"{stem}.json": exporting.json_text(found).encode(),
    }
    for name, data in files.items():
        exporting.write_atomically(given.out / name, data)
    print(rendering.caption(found, rendering.scale_of(found)))
    for trouble in found.health:
        print(f"Caution: {trouble}")
    for name in files:
        print(given.out / name)


def _options(given: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    for name, equals, _ in pairs:
        if not (name and equals):
            raise BadRequest(f"An option is given as NAME=VALUE, not '{name}'.")
    return {name: value for name, _, value in pairs}


def _methods(given: argparse.Namespace) -> None:
    from xai_core.attribution.catalog import METHODS
    from xai_core.options import options_of

    rows = [
        {
            "id": method.id,
            "title": method.title,
            "family": method.family,
            "sign": method.sign,
            "needs": sorted(method.needs),
            "random": method.random,
            "fast": method.fast,
            "version": method.version,
            "source": method.source,
            "card": method.card,
            "summary": method.summary,
            "options": [option.described() for option in options_of(method.run)],
        }
        for method in METHODS.values()
    ]
    _print(rows, given.json, lambda row: f"{row['id']:<22}{row['family']:<14}{row['sign']:<14}{row['summary']}")


def _models(given: argparse.Namespace) -> None:
    rows = [
        {
            "id": card.id,
            "title": card.title,
            "family": card.family,
            "supervision": card.supervision,
            "trained_on": card.trained_on,
            "paper": card.paper,
            "checkpoints": [
                {"id": one.id, "file": one.file, "url": one.url, "ready": weights.find(one) is not None}
                for one in card.checkpoints
            ],
        }
        for card in CARDS.values()
    ]

    def line(row: dict[str, Any]) -> str:
        states = ", ".join(f"{one['id']}: {'ready' if one['ready'] else 'to be fetched'}" for one in row["checkpoints"])
        return f"{row['id']:<24}{row['supervision']:<14}{states}"

    _print(rows, given.json, line)


def _print(rows: list[dict[str, Any]], as_json: bool, line) -> None:
    print(json.dumps(rows, indent=2) if as_json else "\n".join(map(line, rows)))


if __name__ == "__main__":
    sys.exit(main())
