"""What the authors' checkpoints hold, written down from their own code: names and shapes, and random numbers in them.

`shapes` functions give {name in the file: shape}; sizes are arguments, so that tests can be small and still check the
names and shapes of the whole.
"""

import math

import torch
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]


def prefixed(prefix: str, shapes: dict) -> dict:
    return {prefix + name: value for name, value in shapes.items()}


def norm(name: str, size: int, affine: bool = True) -> Shapes:
    statistics = {f"{name}.running_mean": (size,), f"{name}.running_var": (size,), f"{name}.num_batches_tracked": ()}
    return (pair(name, size) if affine else {}) | statistics


def pair(name: str, *shape: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": shape} | ({f"{name}.bias": shape[:1]} if bias else {})


def resnet(layers=(3, 4, 6, 3), classes: int = 0) -> Shapes:
    """torchvision's names, as every PyTorch author used them."""
    found, before = {"conv1.weight": (64, 3, 7, 7)} | norm("bn1", 64), 64
    for stage, blocks in enumerate(layers, start=1):
        mid = 32 * 2**stage
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            found |= {f"{name}.conv1.weight": (mid, before, 1, 1)} | norm(f"{name}.bn1", mid)
            found |= {f"{name}.conv2.weight": (mid, mid, 3, 3)} | norm(f"{name}.bn2", mid)
            found |= {f"{name}.conv3.weight": (4 * mid, mid, 1, 1)} | norm(f"{name}.bn3", 4 * mid)
            if block == 0:
                found |= {f"{name}.downsample.0.weight": (4 * mid, before, 1, 1)} | norm(f"{name}.downsample.1", 4 * mid)
            before = 4 * mid
    return found | (pair("fc", classes, before) if classes else {})


def simclr_resnet(width: int, layers=(3, 4, 6, 3)) -> Shapes:
    before = 64 * width
    found = {"net.0.0.weight": (before, 3, 7, 7)} | norm("net.0.1.0", before)
    for stage, blocks in enumerate(layers, start=1):
        mid = 32 * width * 2**stage
        for block in range(blocks):
            name = f"net.{stage}.blocks.{block}"
            if block == 0:
                found |= {f"{name}.projection.shortcut.weight": (4 * mid, before, 1, 1)}
                found |= norm(f"{name}.projection.bn.0", 4 * mid)
            found |= {f"{name}.net.0.weight": (mid, before, 1, 1)} | norm(f"{name}.net.1.0", mid)
            found |= {f"{name}.net.2.weight": (mid, mid, 3, 3)} | norm(f"{name}.net.3.0", mid)
            found |= {f"{name}.net.4.weight": (4 * mid, mid, 1, 1)} | norm(f"{name}.net.5.0", 4 * mid)
            before = 4 * mid
    return found | pair("fc", 1000, before)


def simclr_head(size: int) -> Shapes:
    found = {}
    for index, out in ((0, size), (3, size), (6, 128)):
        found |= pair(f"layers.{index}", out, size, bias=False) | norm(f"layers.{index + 1}", out)
    return found


def barlow(sizes=(8192, 8192, 8192)) -> Shapes:
    a, b, c = sizes
    projector = pair("0", a, 2048, bias=False) | norm("1", a) | pair("3", b, a, bias=False) | norm("4", b)
    return (
        prefixed("module.backbone.", resnet())
        | prefixed("module.projector.", projector | pair("6", c, b, bias=False))
        | norm("module.bn", c, affine=False)
    )


def simsiam(size: int = 2048) -> Shapes:
    head = pair("0", size, size, bias=False) | norm("1", size) | pair("3", size, size, bias=False) | norm("4", size)
    head |= pair("6", size, size) | norm("7", size, affine=False)
    predictor = pair("0", 512, size, bias=False) | norm("1", 512) | pair("3", size, 512)
    return (
        prefixed("module.encoder.", resnet())
        | prefixed("module.encoder.fc.", head)
        | prefixed("module.predictor.", predictor)
    )


def _block(name: str, dim: int, hidden: int) -> Shapes:
    """What all transformer blocks share: two norms and a perceptron."""
    norms = pair(f"{name}.norm1", dim) | pair(f"{name}.norm2", dim)
    return norms | pair(f"{name}.mlp.fc1", hidden, dim) | pair(f"{name}.mlp.fc2", dim, hidden)


def _attention(name: str, dim: int) -> Shapes:
    return pair(f"{name}.qkv", 3 * dim, dim) | pair(f"{name}.proj", dim, dim)


def vit(dim: int = 768, depth: int = 12, patches: int = 196) -> Shapes:
    found = {"cls_token": (1, 1, dim), "pos_embed": (1, patches + 1, dim)} | pair("patch_embed.proj", dim, 3, 16, 16)
    for index in range(depth):
        found |= _block(f"blocks.{index}", dim, 4 * dim) | _attention(f"blocks.{index}.attn", dim)
    return found | pair("norm", dim) | pair("head", 1000, dim)


def xcit(dim: int = 384, depth: int = 12, heads: int = 8, classes: int = 1000) -> Shapes:
    found, before = {"cls_token": (1, 1, dim)}, 3
    for index, size in zip((0, 2, 4, 6), (dim // 8, dim // 4, dim // 2, dim), strict=True):
        found |= {f"patch_embed.proj.{index}.0.weight": (size, before, 3, 3)} | norm(f"patch_embed.proj.{index}.1", size)
        before = size
    for index in range(depth):
        name = f"blocks.{index}"
        found |= {f"{name}.gamma{one}": (dim,) for one in (1, 2, 3)} | {f"{name}.attn.temperature": (heads, 1, 1)}
        found |= _block(name, dim, 4 * dim) | _attention(f"{name}.attn", dim) | pair(f"{name}.norm3", dim)
        found |= pair(f"{name}.local_mp.conv1", dim, 1, 3, 3) | norm(f"{name}.local_mp.bn", dim)
        found |= pair(f"{name}.local_mp.conv2", dim, 1, 3, 3)
    for index in range(2):
        name = f"cls_attn_blocks.{index}"
        found |= {f"{name}.gamma{one}": (dim,) for one in (1, 2)} | _block(name, dim, 4 * dim)
        found |= _attention(f"{name}.attn", dim)
    found |= pair("norm", dim) | pair("pos_embeder.token_projection", dim, 64, 1, 1)
    return found | (pair("head", classes, dim) if classes else {})


def cait(dim: int = 384, depth: int = 24, heads: int = 8, patches: int = 196) -> Shapes:
    found = {"cls_token": (1, 1, dim), "pos_embed": (1, patches, dim)} | pair("patch_embed.proj", dim, 3, 16, 16)
    for index in range(depth):
        name = f"blocks.{index}"
        found |= {f"{name}.gamma_{one}": (dim,) for one in (1, 2)} | _block(name, dim, 4 * dim)
        found |= _attention(f"{name}.attn", dim) | pair(f"{name}.attn.proj_l", heads, heads)
        found |= pair(f"{name}.attn.proj_w", heads, heads)
    for index in range(2):
        name = f"blocks_token_only.{index}"
        found |= {f"{name}.gamma_{one}": (dim,) for one in (1, 2)} | _block(name, dim, 4 * dim)
        for one in ("q", "k", "v", "proj"):
            found |= pair(f"{name}.attn.{one}", dim, dim)
    return found | pair("norm", dim) | pair("head", 1000, dim)


def swin(dim: int = 128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32), side: int = 56) -> Shapes:
    """`side` is that of the grid of patches. Two tables of constants are in the files too."""
    found = pair("patch_embed.proj", dim, 3, 4, 4) | pair("patch_embed.norm", dim)
    for stage, blocks in enumerate(depths):
        for index in range(blocks):
            name = f"layers.{stage}.blocks.{index}"
            found |= _block(name, dim, 4 * dim) | _attention(f"{name}.attn", dim)
            found |= {f"{name}.attn.relative_position_bias_table": (169, heads[stage])}
            found |= {f"{name}.attn.relative_position_index": (49, 49)}
            if index % 2 and side > 7:
                found |= {f"{name}.attn_mask": ((side // 7) ** 2, 49, 49)}
        if stage < len(depths) - 1:
            found |= pair(f"layers.{stage}.downsample.reduction", 2 * dim, 4 * dim, bias=False)
            found |= pair(f"layers.{stage}.downsample.norm", 4 * dim)
            dim, side = 2 * dim, side // 2
    return found | pair("norm", dim) | pair("head", 1000, dim)


def dinov2(dim: int = 768, depth: int = 12, patches: int = 37 * 37) -> Shapes:
    """A backbone with registers: one position for the class token and one for each patch, none for the registers."""
    found = {"cls_token": (1, 1, dim), "pos_embed": (1, patches + 1, dim), "register_tokens": (1, 4, dim)}
    found |= {"mask_token": (1, dim)} | pair("patch_embed.proj", dim, 3, 14, 14)
    for index in range(depth):
        name = f"blocks.{index}"
        found |= _block(name, dim, 4 * dim) | _attention(f"{name}.attn", dim)
        found |= {f"{name}.ls{one}.gamma": (dim,) for one in (1, 2)}
    return found | pair("norm", dim)


def dinov3(dim: int = 768, depth: int = 12, heads: int = 12) -> Shapes:
    """Its positions are rotations, whose periods are in the file too; a mask takes the bias of the keys away."""
    found = {"cls_token": (1, 1, dim), "storage_tokens": (1, 4, dim), "mask_token": (1, dim)}
    found |= pair("patch_embed.proj", dim, 3, 16, 16) | {"rope_embed.periods": (dim // heads // 4,)}
    for index in range(depth):
        name = f"blocks.{index}"
        found |= _block(name, dim, 4 * dim) | _attention(f"{name}.attn", dim)
        found |= {f"{name}.attn.qkv.bias_mask": (3 * dim,)} | {f"{name}.ls{one}.gamma": (dim,) for one in (1, 2)}
    return found | pair("norm", dim)


def eva02(dim: int = 384, depth: int = 12, heads: int = 6, patches: int = 24 * 24) -> Shapes:
    """Small and tiny EVA-02: one linear layer makes both inputs of SwiGLU; each block has its table of rotations."""
    hidden, table = int(dim * 8 / 3), (patches, dim // heads)
    found = {"cls_token": (1, 1, dim), "pos_embed": (1, patches + 1, dim)} | pair("patch_embed.proj", dim, 3, 14, 14)
    found |= {"rope.freqs_cos": table, "rope.freqs_sin": table}
    for index in range(depth):
        name = f"blocks.{index}"
        found |= pair(f"{name}.norm1", dim) | pair(f"{name}.norm2", dim)
        found |= {f"{name}.attn.q_bias": (dim,), f"{name}.attn.v_bias": (dim,)}
        found |= pair(f"{name}.attn.qkv", 3 * dim, dim, bias=False) | pair(f"{name}.attn.proj", dim, dim)
        found |= {f"{name}.attn.rope.freqs_cos": table, f"{name}.attn.rope.freqs_sin": table}
        found |= pair(f"{name}.mlp.w12", 2 * hidden, dim) | pair(f"{name}.mlp.w3", dim, hidden)
    return found | pair("fc_norm", dim) | pair("head", 1000, dim)


def convnext(sizes=(96, 192, 384, 768), depths=(3, 3, 9, 3)) -> Shapes:
    found = pair("downsample_layers.0.0", sizes[0], 3, 4, 4) | pair("downsample_layers.0.1", sizes[0])
    for stage in (1, 2, 3):
        found |= pair(f"downsample_layers.{stage}.0", sizes[stage - 1])
        found |= pair(f"downsample_layers.{stage}.1", sizes[stage], sizes[stage - 1], 2, 2)
    for stage, (dim, blocks) in enumerate(zip(sizes, depths, strict=True)):
        for index in range(blocks):
            name = f"stages.{stage}.{index}"
            found |= {f"{name}.gamma": (dim,)} | pair(f"{name}.dwconv", dim, 1, 7, 7) | pair(f"{name}.norm", dim)
            found |= pair(f"{name}.pwconv1", 4 * dim, dim) | pair(f"{name}.pwconv2", dim, 4 * dim)
    return found | pair("norm", sizes[-1]) | pair("head", 1000, sizes[-1])


def siglip(dim: int = 768, depth: int = 12, patches: int = 196) -> Shapes:
    """Both towers in one file; of the one for texts only some entries, because it is left alone."""
    found = {"logit_scale": (1,), "logit_bias": (1,)} | pair("text_model.head", dim, dim)
    found |= pair("vision_model.embeddings.patch_embedding", dim, 3, 16, 16)
    found |= {"vision_model.embeddings.position_embedding.weight": (patches, dim)}
    for index in range(depth):
        name = f"vision_model.encoder.layers.{index}"
        found |= pair(f"{name}.layer_norm1", dim) | pair(f"{name}.layer_norm2", dim)
        for one in ("k_proj", "v_proj", "q_proj", "out_proj"):
            found |= pair(f"{name}.self_attn.{one}", dim, dim)
        found |= pair(f"{name}.mlp.fc1", 4 * dim, dim) | pair(f"{name}.mlp.fc2", dim, 4 * dim)
    found |= pair("vision_model.post_layernorm", dim)
    head = {"probe": (1, 1, dim), "attention.in_proj_weight": (3 * dim, dim), "attention.in_proj_bias": (3 * dim,)}
    head |= pair("attention.out_proj", dim, dim) | pair("layernorm", dim)
    head |= pair("mlp.fc1", 4 * dim, dim) | pair("mlp.fc2", dim, 4 * dim)
    return found | prefixed("vision_model.head.", head)


def filled(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    """Random numbers of a size at which every parameter matters and nothing explodes."""
    draw = torch.Generator().manual_seed(seed)
    return {name: _values(name, shape, draw) for name, shape in shapes.items()}


def _values(name: str, shape: tuple[int, ...], draw: torch.Generator) -> Tensor:
    if name.endswith(("num_batches_tracked", "relative_position_index")):
        return torch.ones(shape, dtype=torch.long)
    if name.endswith(("running_var", "temperature")) or (len(shape) == 1 and not name.endswith(("bias", "mean"))):
        return torch.rand(shape, generator=draw) + 0.5
    small = 0.1 if len(shape) == 1 else 1 / math.sqrt(math.prod(shape[1:]))
    return torch.randn(shape, generator=draw) * small
