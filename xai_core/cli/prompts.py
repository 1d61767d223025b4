"""`xai-core prompts`: texts as the classes of an image tower of CLIP or SigLIP."""

import argparse
from pathlib import Path

from xai_core.cli import arguments
from xai_core.cli.arguments import Commands
from xai_core.core import settings


def add_to(commands: Commands) -> None:
    """Add the command `prompts`."""
    command = commands.add_parser(
        "prompts", help="make a zero-shot classifier: texts as the classes of a CLIP or SigLIP model"
    )
    command.add_argument("texts", metavar="TEXT", nargs="*", help="a class in words, such as 'tabby cat'; two or more")
    command.add_argument("--file", type=Path, help="a text file with one text a line, instead of or after those named")
    command.add_argument("--model", required=True, help=f"the image tower: {arguments.MODEL}")
    command.add_argument("--weights", help="one of the image tower's checkpoints (default: its first)")
    command.add_argument("--text-model", required=True, metavar="NAME", help="the model of open_clip with the text tower "
                         "that was trained with this image tower, such as ViT-B-16")  # fmt: skip
    command.add_argument("--text-weights", required=True, metavar="TAG", help="its weights: a tag of open_clip's, such as "
                         "openai, or a file")  # fmt: skip
    command.add_argument(
        "--template",
        action="append",
        metavar="TEXT",
        help="a sentence with {} where the text goes; "
        "several are averaged; {} alone takes the texts as they are (default: a photo of a {}.)",
    )
    command.add_argument("--seed", type=int, default=0, help="of the texts without a meaning that stand beside as controls")
    command.add_argument("--name", required=True, help="the id of the new model")
    command.set_defaults(run=_prompts)


def _prompts(args: argparse.Namespace) -> None:
    from xai_core.models import prompt_card, prompt_writer
    from xai_core.models.loading import load_model
    from xai_core.models.zoo.catalog import check_new_name

    texts = [*args.texts, *(prompt_card.lines_of(args.file) if args.file else [])]
    check_new_name(args.name, settings.weights_folder(), prompt_card.WHOSE)
    tower = load_model(args.model, args.weights)
    model, tokenize, which = prompt_writer.text_tower(args.text_model, args.text_weights)
    made = prompt_writer.encoded(
        model, tokenize, texts, args.template or prompt_writer.TEMPLATES, tower=which, seed=args.seed, track=arguments.bar
    )
    card = prompt_card.save(tower, args.model, args.weights, args.name, settings.weights_folder(), *made)
    about = made[0]
    print(f"{len(about.names):,} texts, {about.width} numbers each; controls without a meaning: {', '.join(about.controls)}")
    print(card)
