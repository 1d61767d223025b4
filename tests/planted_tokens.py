"""A vision transformer two of whose tokens have an outlying norm, also as a card of the user's own."""

import copy
import json
from pathlib import Path

import torch
from small_models import pair
from torch import Tensor, nn

from xai_core.models import prompts
from xai_core.models.prompt_list import PromptList

PLANTED = ((0, 3), (7, 7))  # cells of 10 x 10
SIDE, COUNT, WIDTH = 160, 100, 64  # of a picture in pixels; patches; numbers in a token
ANIMALS = ("tabby cat", "tiger", "red fox")
CONTROLS = tuple(f"bo{letter}" for letter in "abcdefgh")  # eight texts without a meaning


def vit_with_planted_tokens() -> nn.Module:
    """timm's smallest ViT, where two positions are far from the others: no block takes that away again."""
    module = copy.deepcopy(pair("vit").parts[0])
    with torch.no_grad():
        for row, column in PLANTED:
            place = module.pos_embed.shape[1] - COUNT + 10 * row + column
            module.pos_embed[0, place] += 100 * torch.sign(torch.randn(module.embed_dim, generator=torch.manual_seed(0)))
    return module


def write_tower(folder: Path, name: str) -> None:
    """Its card, as an image tower without classes."""
    state = {key: value for key, value in vit_with_planted_tokens().state_dict().items() if not key.startswith("head.")}
    torch.save(state, folder / f"{name}.pth")
    _write_card(folder, name, architecture="test_vit", family="vit", file=f"{name}.pth", input_size=SIDE)


def write_texts(folder: Path, name: str, tower: str) -> None:
    """The card of `tower` with three texts for its classes, and eight without a meaning. No text tower has made their
    vectors: they are drawn."""
    drawn = torch.randn(len(ANIMALS) + len(CONTROLS), WIDTH, generator=torch.Generator().manual_seed(0))
    vectors: Tensor = nn.functional.normalize(drawn, dim=-1)
    about = PromptList(ANIMALS, CONTROLS, 10.0, 0.0, "none", ("a photo of a {}.",), 0, WIDTH)
    prompts.write(folder / f"{name}.safetensors", about, vectors[: len(ANIMALS)], vectors[len(ANIMALS) :])
    _write_card(folder, name, title="Animals", base=tower, prompts=f"{name}.safetensors")


def _write_card(folder: Path, name: str, **given: str | int) -> None:
    (folder / f"{name}.toml").write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in given.items()))
