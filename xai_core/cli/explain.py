"""`xai-core explain`: one explanation of one picture, or of many pictures with a sheet and a table."""

import argparse
from pathlib import Path

from xai_core.cli import arguments, explain_many
from xai_core.cli.arguments import Commands


def add_to(commands: Commands) -> None:
    """Add the command `explain`."""
    command = commands.add_parser("explain", help="explain one picture, or many: overlay PNG, raw NPZ and JSON")
    command.add_argument(
        "--method", default="grad_cam", help="id of a method, see: methods; or a variant: grad_cam@cut=layer3+eigen=true"
    )
    command.add_argument("--cut", help="layer that CAMs read (default: the model's)")
    command.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the method")
    arguments.add_query(command)
    explain_many.add_arguments(command)
    command.set_defaults(run=_explain)


def _explain(args: argparse.Namespace) -> None:
    if explain_many.are_many(args.image):
        explain_many.run(args)
    else:
        explain_many.refuse_choice(args)
        _explain_one(args)


def _explain_one(args: argparse.Namespace) -> None:
    from xai_core.attribution.explain import explain_methods
    from xai_core.attribution.outlying_patches import outlying_patches
    from xai_core.explanation import export, rendering, wording

    method, options = arguments.variant(args)
    query = arguments.query(args)
    _, explanation = next(
        iter(
            explain_methods(
                query.model, query.picture, {method.id: options}, target=query.target, rival=query.rival, cut=args.cut,
                precision=query.precision, seed=query.seed, track=arguments.bar,
            )
        )
    )  # fmt: skip
    found = outlying_patches(query.model, explanation, query.model.prepare(query.picture))
    stem = f"{Path(args.image).stem}_{explanation.method}"
    files = {
        f"{stem}_overlay.png": export.png_bytes(rendering.overlay(explanation, query.picture), explanation),
        f"{stem}.npz": export.npz_bytes(explanation),
        f"{stem}.json": export.json_text(explanation, {"outlying_patches": found.settings()} if found else None).encode(),
    }
    cautions = [f"Caution: {problem}" for problem in explanation.health]
    caption = rendering.caption(explanation, rendering.scale_of(explanation))
    flagged = [found.words] if found and found.count else []
    arguments.write(files, args.out, wording.answer(explanation), caption, *flagged, *cautions)
