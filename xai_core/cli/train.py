"""`xai-core train`: train one of the plans on labelled pictures."""

import argparse
from pathlib import Path

from xai_core.cli import arguments
from xai_core.cli.arguments import Commands
from xai_core.core import settings
from xai_core.core.errors import BadRequest, UnknownName
from xai_core.training.plans import PLANS


def add_to(commands: Commands) -> None:
    """Add the command `train`."""
    command = commands.add_parser(
        "train", help="train a small network on labelled pictures; run it again to continue where it stopped"
    )
    command.add_argument("plan", metavar="PLAN", help=f"one of {', '.join(PLANS)}")
    command.add_argument(
        "--train", metavar="DATA", help="a folder with one subfolder for each class, or a ZIP (default: the plan's world)"
    )
    command.add_argument(
        "--test",
        metavar="DATA",
        help="held-out pictures of the same classes: predicted and recorded, not trained on",
    )
    command.add_argument("--out", type=Path, metavar="DIR", help="folder for weights and card (default: weights/)")
    command.add_argument(
        "--runs", type=Path, metavar="DIR", help="folder for the record of the training (default: data/runs/)"
    )
    command.add_argument(
        "--state", type=Path, metavar="DIR", help="folder with the state for resuming (default: out/training/PLAN)"
    )
    command.add_argument(
        "--cache", type=Path, metavar="DIR", help="folder for decoded pictures (default: the temporary folder)"
    )
    command.add_argument("--epochs", type=int, metavar="N", help="number of epochs (default: the plan's)")
    command.add_argument("--seed", type=int, default=0, help="seed of all random numbers (default: 0)")
    command.add_argument(
        "--finish", action="store_true", help="stop training here: write the best network of the epochs so far"
    )
    command.set_defaults(run=_train)


def _train(args: argparse.Namespace) -> None:
    if args.plan not in PLANS:
        raise UnknownName("plan", args.plan, PLANS)
    from xai_core.data.datasets import open_dataset, with_classes
    from xai_core.training.export import write_model
    from xai_core.training.run import train_plan

    plan = PLANS[args.plan]
    sources = [args.train or plan.train, args.test or plan.test]
    if not all(sources):
        raise BadRequest(f"The plan {plan.id} has no pictures of its own: give labelled ones with --train and --test.")
    train, test = (with_classes(open_dataset(data)) for data in sources)
    net, state, parts = train_plan(
        plan,
        train,
        test,
        state=args.state or settings.storage() / "out" / "training" / plan.id,
        run=(args.runs or settings.trainings_folder()) / f"{plan.id}.parquet",
        seed=args.seed,
        epochs=args.epochs,
        more=not args.finish,
        cache=args.cache,
        say=arguments.say,
        track=arguments.bar,
    )
    for path in write_model(net, plan, state, parts, train, test, args.out or settings.weights_folder()):
        print(path)
