"""From the names in authors' files to those of timm's networks, where a table of prefixes in a card cannot say it."""

import re
import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

Tensors = dict[str, Tensor]

SIGLIP = (  # where Hugging Face's names of the image tower differ from timm's, in this order
    (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^encoder\.layers\.", "blocks."),
    (r"\.layer_norm([12])\.", r".norm\1."),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
    (r"^post_layernorm\.", "norm."),
    (r"^head\.probe$", "attn_pool.latent"),
    (r"^head\.attention\.out_proj\.", "attn_pool.proj."),
    (r"^head\.layernorm\.", "attn_pool.norm."),
    (r"^head\.mlp\.", "attn_pool.mlp."),
)


def by_timm(tensors: Tensors, module: nn.Module) -> Tensors:
    """As timm itself reads the files of a network's authors: DINOv2, DINOv3, EVA-02, ConvNeXt. Learned positions are brought
    to the size of the network's grid, as the authors do (bicubic, antialiased)."""
    of = next(of for one in type(module).__mro__ if hasattr(of := sys.modules[one.__module__], "checkpoint_filter_fn"))
    named: Tensors = of.checkpoint_filter_fn(tensors, module)
    return named


def siglip(tensors: Tensors, module: nn.Module) -> Tensors:
    """The image tower of Hugging Face's SigLIP: its attention holds query, key and value apart, its pooling holds them
    in one tensor. The tower for texts and the scale of the similarity are left alone."""
    named: Tensors = {}
    tower = {name.removeprefix("vision_model."): one for name, one in tensors.items() if name.startswith("vision_model.")}
    for name, value in tower.items():
        if ours := re.fullmatch(r"encoder\.layers\.(\d+)\.self_attn\.q_proj\.(weight|bias)", name):
            parts = [tower[name.replace(".q_proj.", f".{one}_proj.")] for one in "qkv"]
            named[f"blocks.{ours[1]}.attn.qkv.{ours[2]}"] = torch.cat(parts)
        elif ours := re.fullmatch(r"head\.attention\.in_proj_(weight|bias)", name):
            query, *key_and_value = value.chunk(3)
            named[f"attn_pool.q.{ours[1]}"], named[f"attn_pool.kv.{ours[1]}"] = query, torch.cat(key_and_value)
        elif not re.search(r"\.self_attn\.[kv]_proj\.(weight|bias)$", name):
            for theirs, ourselves in SIGLIP:
                name = re.sub(theirs, ourselves, name)
            named[name] = value[None] if name == "pos_embed" else value
    return named


RENAMINGS: dict[str, Callable[[Tensors, nn.Module], Tensors]] = {"timm": by_timm, "siglip": siglip}
