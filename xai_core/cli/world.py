"""`xai-core world`: write drawn pictures whose causes of errors are known, as a folder."""

import argparse
from pathlib import Path

from xai_core.cli import arguments
from xai_core.cli.arguments import Commands
from xai_core.core.errors import BadRequest
from xai_core.data.world import planted as worlds
from xai_core.data.world.planted import CAUSES, SPLITS


def add_to(commands: Commands) -> None:
    """Add the command `world`."""
    causes = "; ".join(f"{name} ({cause.rate:g}): {cause.about}" for name, cause in CAUSES.items()).replace("%", "%%")
    command = commands.add_parser(
        "world",
        help="write drawn pictures whose causes of errors are known, with metadata and the masks of their parts",
        epilog=f"Causes, with their usual rates. {causes}",
    )
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    command.add_argument("--count", type=int, default=1000, metavar="N", help="number of pictures (default: 1000)")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="another seed draws other pictures (default: 0)")
    command.add_argument(
        "--planted", nargs="*", metavar="CAUSE[=RATE]", help="plant these causes; without a name all (default: none)"
    )
    command.add_argument(
        "--broken",
        nargs="+",
        default=[],
        metavar="CAUSE",
        help="reverse these planted causes, to test a network that has learned them",
    )
    command.add_argument("--split", choices=SPLITS, default="test", help="part of the data to draw (default: test)")
    command.add_argument("--size", type=int, default=128, metavar="PIXELS", help="length of a side in pixels (default: 128)")
    command.set_defaults(run=_world)


def _world(args: argparse.Namespace) -> None:
    from xai_core.data.world.folder import write_folder

    world = worlds.clean() if args.planted is None else worlds.planted(**_rates(args.planted))
    for cause in args.broken:
        world = worlds.broken(world, cause)
    write_folder(
        world, args.out, count=args.count, seed=args.seed, split=args.split, size=args.size, track=arguments.bar
    )  # fmt: skip
    planted = ", ".join(f"{cause} {rate:g}" for cause, rate in world.causes) or "nothing"
    print(f"{args.count:,} pictures of {len(worlds.CLASSES)} classes; planted: {planted}.")
    print(args.out)


def _rates(texts: list[str]) -> dict[str, float]:
    """The rate of each cause in texts such as mark or mark=0.6. Raises UnknownName, BadRequest."""
    rates = {}
    for text in texts:
        name, equals, rate = text.partition("=")
        try:
            rates[name] = float(rate) if equals else worlds.find_cause(name).rate
        except ValueError as error:
            if isinstance(error, BadRequest):
                raise
            raise BadRequest(f"'{rate}' is no rate of {name}: give a share from 0 to 1, such as {name}=0.5.") from None
    return rates
