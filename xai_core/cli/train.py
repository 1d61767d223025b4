"""`python -m xai_core train`: train one of the plans on a labelled folder or a ZIP of one."""

import argparse
from pathlib import Path

from xai_core.cli import arguments
from xai_core.core import settings
from xai_core.core.errors import UnknownName
from xai_core.training.plans import PLANS


def add_to(parsers) -> None:
    train = parsers.add_parser("train", help="train a small network on labelled pictures; goes on where it was stopped")
    train.add_argument("plan", metavar="PLAN", help=f"one of {', '.join(PLANS)}")
    train.add_argument(
        "--train", type=Path, required=True, metavar="DATA", help="a folder with one subfolder for each class, or a ZIP"
    )
    train.add_argument("--test", type=Path, required=True, metavar="DATA", help="of the same classes: recorded only")
    train.add_argument("--out", type=Path, metavar="DIR", help="for weights and card (default: weights/)")
    train.add_argument("--runs", type=Path, metavar="DIR", help="for the run's record (default: data/runs/)")
    train.add_argument("--state", type=Path, metavar="DIR", help="to go on from (default: out/training/PLAN)")
    train.add_argument("--cache", type=Path, metavar="DIR", help="for decoded pictures (default: the temporary folder)")
    train.add_argument("--epochs", type=int, metavar="N", help="(default: the plan's)")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--finish", action="store_true", help="take no further epoch: write the best of those that were")
    train.set_defaults(run=_train)


def _train(given: argparse.Namespace) -> None:
    if given.plan not in PLANS:
        raise UnknownName("plan", given.plan, PLANS)
    from xai_core.data.datasets import open_dataset, with_classes
    from xai_core.training.run import train_plan

    plan = PLANS[given.plan]
    train, test = (with_classes(open_dataset(data)) for data in (given.train, given.test))
    net, state, parts = train_plan(
        plan,
        train,
        test,
        state=given.state or settings.storage() / "out" / "training" / plan.id,
        run=(given.runs or settings.trainings_folder()) / f"{plan.id}.parquet",
        seed=given.seed,
        epochs=given.epochs,
        more=not given.finish,
        cache=given.cache,
        say=lambda line: print(line, flush=True),
        track=arguments.bar,
    )
    from xai_core.training.export import write_model

    for path in write_model(net, plan, state, parts, train, test, given.out or settings.weights_folder()):
        print(path)
