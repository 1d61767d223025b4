"""`xai-core weights`: list, fetch, verify and import the files of models."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from xai_core.cli.arguments import Commands
from xai_core.core import settings
from xai_core.core.errors import WeightsUnavailable, XaiError
from xai_core.models.card import Card, Checkpoint, File
from xai_core.models.weights import locate
from xai_core.models.zoo.catalog import broken_cards, cards, find_card


def add_to(commands: Commands) -> None:
    """Add the command `weights`, which has commands of its own."""
    group = commands.add_parser("weights", help="list, fetch, verify and import the files of models")
    actions = group.add_subparsers(required=True, metavar="COMMAND")
    actions.add_parser("list", help="list every file and where it is").set_defaults(run=_list)
    for name, run, help in (
        ("fetch", _fetch, "download a model's weights"),
        ("verify", _verify, "check what is here: checksums, and that each file fits its network exactly"),
        ("import", _import, "check a file that came by hand, and copy it into place"),
    ):
        command = actions.add_parser(name, help=help)
        command.add_argument("id", metavar="ID", nargs="?" if name == "verify" else None, help="id of a model, see: models")
        command.add_argument("--weights", help="one of the model's checkpoints (default: its first)")
        if name == "import":
            command.add_argument("file", metavar="FILE", type=Path)
        command.set_defaults(run=run)


def _list(args: argparse.Namespace) -> None:
    for card in cards().values():
        for checkpoint in card.checkpoints:
            for file in checkpoint.files:
                print(f"{card.id:<30}{checkpoint.id:<18}{file.name:<46}{file.megabytes:>5} MB  {_state(file)}")
    for problem in broken_cards().values():
        print(problem)


def _state(file: File) -> str:
    return str(
        locate.locate(file) or ("to be fetched" if file.url else f"put it at {settings.weights_folder() / file.name}")
    )


def _checkpoint(card: Card, name: str | None) -> Checkpoint:
    from xai_core.models.loading import checkpoint_of

    return checkpoint_of(card, name)


def _fetch(args: argparse.Namespace) -> None:
    card = find_card(args.id)
    checkpoint = _checkpoint(card, args.weights)
    with _bars() as progress:
        files = locate.obtain(card, checkpoint, progress)
    print(*(path for path, _ in files), sep="\n")


@contextmanager
def _bars() -> Iterator[Callable[[str, float, float], None]]:
    """A progress bar for each file, where the standard error is a terminal."""
    from tqdm import tqdm

    bars: dict[str, tqdm[NoReturn]] = {}

    def progress(name: str, here: float, total: float) -> None:
        bar = bars.setdefault(name, tqdm(desc=name, unit="MB", bar_format=BAR, disable=None))
        bar.total = total
        bar.update(here - bar.n)

    yield progress
    for bar in bars.values():
        bar.close()


BAR = "{desc} {percentage:3.0f}%|{bar}| {n:.0f} of {total:.0f} MB, {remaining} left"


def _verify(args: argparse.Namespace) -> None:
    chosen = [find_card(args.id)] if args.id else list(cards().values())
    wanted = [
        (card, checkpoint) for card in chosen for checkpoint in card.checkpoints if args.weights in (None, checkpoint.id)
    ]
    here = [(card, checkpoint) for card, checkpoint in wanted if locate.find(checkpoint)]
    if not here:
        raise WeightsUnavailable(f"No weights of {args.id or 'any model'} are on this machine.")
    wrong = [f"{card.id} {checkpoint.id}" for card, checkpoint in here if not _is_right(card, checkpoint)]
    if wrong:
        raise WeightsUnavailable(f"{len(wrong)} of {len(here)} checkpoints cannot be used: {', '.join(wrong)}.")


def _is_right(card: Card, checkpoint: Checkpoint) -> bool:
    from xai_core.models import building

    name = f"{card.id:<30}{checkpoint.id:<18}"
    try:
        building.filled(card, checkpoint, [path for path, _ in locate.obtain(card, checkpoint)])
    except XaiError as problem:
        print(f"{name}{problem}", flush=True)
        return False
    print(f"{name}right", flush=True)
    return True


def _import(args: argparse.Namespace) -> None:
    from xai_core.models import import_file

    card = find_card(args.id)
    print(import_file.import_file(card, _checkpoint(card, args.weights), args.file))
