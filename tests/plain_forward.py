"""The networks' forward passes from the raw entries of their authors' files: plain functions of tensors, no modules.

Written from the papers and the authors' code, to show that what a file says is what a model here computes.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]


def part(state: State, prefix: str) -> State:
    """The entries below a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def linear(p: State, name: str, x: Tensor) -> Tensor:
    return F.linear(x, p[f"{name}.weight"], p.get(f"{name}.bias"))


def batch_norm(p: State, name: str, x: Tensor) -> Tensor:
    statistics = p[f"{name}.running_mean"], p[f"{name}.running_var"]
    return F.batch_norm(x, *statistics, p.get(f"{name}.weight"), p.get(f"{name}.bias"), eps=1e-5)


def layer_norm(p: State, name: str, x: Tensor, eps: float = 1e-6) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], p[f"{name}.weight"], p[f"{name}.bias"], eps)


def perceptron(p: State, x: Tensor, steps: str) -> Tensor:
    """Layers of a Sequential by their numbers: `l` linear, `b` batch norm, `r` ReLU."""
    for index, step in enumerate(steps):
        x = linear(p, str(index), x) if step == "l" else batch_norm(p, str(index), x) if step == "b" else x.relu()
    return x


def resnet(p: State, x: Tensor) -> Tensor:
    """torchvision's names -> pooled features (n, 2048)."""
    x = batch_norm(p, "bn1", F.conv2d(x, p["conv1.weight"], stride=2, padding=3)).relu()
    x = F.max_pool2d(x, 3, 2, 1)
    for stage in (1, 2, 3, 4):
        block = 0
        while f"layer{stage}.{block}.conv1.weight" in p:
            x = _bottleneck(part(p, f"layer{stage}.{block}."), x, stride=2 if stage > 1 and block == 0 else 1)
            block += 1
    return x.mean((2, 3))


def _bottleneck(p: State, x: Tensor, stride: int) -> Tensor:
    shortcut = x
    if "downsample.0.weight" in p:
        shortcut = batch_norm(p, "downsample.1", F.conv2d(x, p["downsample.0.weight"], stride=stride))
    x = batch_norm(p, "bn1", F.conv2d(x, p["conv1.weight"])).relu()
    x = batch_norm(p, "bn2", F.conv2d(x, p["conv2.weight"], stride=stride, padding=1)).relu()
    return (shortcut + batch_norm(p, "bn3", F.conv2d(x, p["conv3.weight"]))).relu()


def simclr(p: State, x: Tensor) -> Tensor:
    """The converted names -> pooled features."""
    x = batch_norm(p, "net.0.1.0", F.conv2d(x, p["net.0.0.weight"], stride=2, padding=3)).relu()
    x = F.max_pool2d(x, 3, 2, 1)
    for stage in (1, 2, 3, 4):
        block = 0
        while f"net.{stage}.blocks.{block}.net.0.weight" in p:
            b, stride = part(p, f"net.{stage}.blocks.{block}."), 2 if stage > 1 and block == 0 else 1
            y = batch_norm(b, "net.1.0", F.conv2d(x, b["net.0.weight"])).relu()
            y = batch_norm(b, "net.3.0", F.conv2d(y, b["net.2.weight"], stride=stride, padding=1)).relu()
            y = batch_norm(b, "net.5.0", F.conv2d(y, b["net.4.weight"]))
            if block == 0:
                x = batch_norm(b, "projection.bn.0", F.conv2d(x, b["projection.shortcut.weight"], stride=stride))
            x = (x + y).relu()
            block += 1
    return x.mean((2, 3))


def _mlp(p: State, name: str, x: Tensor) -> Tensor:
    return linear(p, f"{name}.fc2", F.gelu(linear(p, f"{name}.fc1", x)))


def _heads(x: Tensor, heads: int) -> Tensor:
    """(n, N, C) -> (n, heads, N, C / heads)"""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


def vit(p: State, x: Tensor, heads: int, positions: Tensor) -> Tensor:
    """-> the normed class token (n, D)."""
    x = F.conv2d(x, p["patch_embed.proj.weight"], p["patch_embed.proj.bias"], stride=16).flatten(2).mT
    x = torch.cat((p["cls_token"].expand(len(x), -1, -1), x), 1) + positions
    depth = sum(name.endswith("attn.qkv.weight") for name in p)
    for b in (part(p, f"blocks.{index}.") for index in range(depth)):
        q, k, v = (_heads(one, heads) for one in linear(b, "attn.qkv", layer_norm(b, "norm1", x)).chunk(3, -1))
        x = x + linear(b, "attn.proj", _attend(q, k, v))
        x = x + _mlp(b, "mlp", layer_norm(b, "norm2", x))
    return layer_norm(p, "norm", x)[:, 0]


def sine_positions(side: int, dim: int) -> Tensor:
    """MoCo v3's fixed positions with a zero for the class token, one number at a time."""
    found, quarter = torch.zeros(1, 1 + side * side, dim), dim // 4
    for row in range(side):
        for column in range(side):
            for i in range(quarter):
                angle_row, angle_column = (place / 10000 ** (i / quarter) for place in (row, column))
                waves = math.sin(angle_row), math.cos(angle_row), math.sin(angle_column), math.cos(angle_column)
                for which, wave in enumerate(waves):
                    found[0, 1 + row * side + column, which * quarter + i] = wave
    return found


def cait(p: State, x: Tensor, heads: int) -> Tensor:
    """-> the normed class token."""
    x = F.conv2d(x, p["patch_embed.proj.weight"], p["patch_embed.proj.bias"], stride=16).flatten(2).mT + p["pos_embed"]
    depth = sum(name.endswith("attn.qkv.weight") for name in p)
    for b in (part(p, f"blocks.{index}.") for index in range(depth)):
        q, k, v = (_heads(one, heads) for one in linear(b, "attn.qkv", layer_norm(b, "norm1", x)).chunk(3, -1))
        scores = (q @ k.mT / math.sqrt(q.shape[-1])).permute(0, 2, 3, 1)
        weights = linear(b, "attn.proj_l", scores).softmax(2)
        weights = linear(b, "attn.proj_w", weights).permute(0, 3, 1, 2)
        x = x + b["gamma_1"] * linear(b, "attn.proj", (weights @ v).transpose(1, 2).flatten(2))
        x = x + b["gamma_2"] * _mlp(b, "mlp", layer_norm(b, "norm2", x))
    token = p["cls_token"].expand(len(x), -1, -1)
    for b in (part(p, f"blocks_token_only.{index}.") for index in range(2)):
        both = layer_norm(b, "norm1", torch.cat((token, x), 1))
        q, k, v = (_heads(linear(b, f"attn.{one}", both), heads) for one in "qkv")
        token = token + b["gamma_1"] * linear(b, "attn.proj", _attend(q[:, :, :1], k, v))
        token = token + b["gamma_2"] * _mlp(b, "mlp", layer_norm(b, "norm2", token))
    return layer_norm(p, "norm", token)[:, 0]


def xcit(p: State, x: Tensor, heads: int) -> Tensor:
    """-> the normed class token."""
    for index in (0, 2, 4, 6):
        x = F.conv2d(x, p[f"patch_embed.proj.{index}.0.weight"], stride=2, padding=1)
        x = batch_norm(p, f"patch_embed.proj.{index}.1", x)
        x = x if index == 6 else F.gelu(x)
    height, width = x.shape[2:]
    waves = fourier(height, width)
    positions = F.conv2d(waves, p["pos_embeder.token_projection.weight"], p["pos_embeder.token_projection.bias"])
    x = (x + positions).flatten(2).mT
    for b in (part(p, f"blocks.{index}.") for index in range(sum(name.endswith("temperature") for name in p))):
        q, k, v = (_heads(one, heads).mT for one in linear(b, "attn.qkv", layer_norm(b, "norm1", x)).chunk(3, -1))
        weights = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * b["attn.temperature"]).softmax(-1)
        x = x + b["gamma1"] * linear(b, "attn.proj", (weights @ v).permute(0, 3, 1, 2).flatten(2))
        maps = layer_norm(b, "norm3", x).mT.unflatten(2, (height, width))
        maps = F.conv2d(maps, b["local_mp.conv1.weight"], b["local_mp.conv1.bias"], padding=1, groups=maps.shape[1])
        maps = batch_norm(b, "local_mp.bn", F.gelu(maps))
        maps = F.conv2d(maps, b["local_mp.conv2.weight"], b["local_mp.conv2.bias"], padding=1, groups=maps.shape[1])
        x = x + b["gamma3"] * maps.flatten(2).mT
        x = x + b["gamma2"] * _mlp(b, "mlp", layer_norm(b, "norm2", x))
    x = torch.cat((p["cls_token"].expand(len(x), -1, -1), x), 1)
    for b in (part(p, f"cls_attn_blocks.{index}.") for index in range(2)):
        normed = layer_norm(b, "norm1", x)
        q, k, v = (_heads(one, heads) for one in linear(b, "attn.qkv", normed).chunk(3, -1))
        token = linear(b, "attn.proj", _attend(q[:, :, :1], k, v))
        x = layer_norm(b, "norm2", x + b["gamma1"] * torch.cat((token, normed[:, 1:]), 1))
        x = x + torch.cat((b["gamma2"] * _mlp(b, "mlp", x[:, :1]), x[:, 1:]), 1)
    return layer_norm(p, "norm", x)[:, 0]


def fourier(height: int, width: int) -> Tensor:
    """(1, 64, height, width): sine and cosine in turns of the place from 0 to 2 pi, 32 of the row, then 32 of the column."""
    rates = 10000.0 ** -(torch.arange(16) / 16)
    rows, columns = (2 * math.pi * torch.arange(1, n + 1) / (n + 1e-6) for n in (height, width))
    rows, columns = ((places[:, None] * rates) for places in (rows, columns))
    rows, columns = (torch.stack((one.sin(), one.cos()), -1).flatten(1) for one in (rows, columns))
    rows, columns = rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1)
    return torch.cat((rows, columns), -1).permute(2, 0, 1)[None]


def swin(p: State, x: Tensor, heads: tuple[int, ...]) -> Tensor:
    """-> the mean of the normed positions."""
    x = F.conv2d(x, p["patch_embed.proj.weight"], p["patch_embed.proj.bias"], stride=4).permute(0, 2, 3, 1)
    x = layer_norm(p, "patch_embed.norm", x, 1e-5)
    for stage, count in enumerate(heads):
        layer, index = part(p, f"layers.{stage}."), 0
        while f"blocks.{index}.norm1.weight" in layer:
            b = part(layer, f"blocks.{index}.")
            shift = 3 if index % 2 and x.shape[1] > 7 else 0
            x = x + _windows(b, layer_norm(b, "norm1", x, 1e-5), count, shift)
            x = x + _mlp(b, "mlp", layer_norm(b, "norm2", x, 1e-5))
            index += 1
        if "downsample.reduction.weight" in layer:  # behind a stage, as in the authors' code
            corners = [x[:, row::2, column::2] for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))]
            x = linear(layer, "downsample.reduction", layer_norm(layer, "downsample.norm", torch.cat(corners, -1), 1e-5))
    return layer_norm(p, "norm", x, 1e-5).mean((1, 2))


def _windows(b: State, x: Tensor, heads: int, shift: int) -> Tensor:
    """Attention inside windows of 7 x 7, shifted around the border; what was not neighbours does not attend."""
    n, side = len(x), x.shape[1]
    region = torch.arange(side)
    region = (region >= side - 7).long() + (region >= side - shift).long() if shift else torch.zeros(side).long()
    region = (region[:, None] * 3 + region)[None, :, :, None].float()
    x = x.roll((-shift, -shift), (1, 2))

    def cut_windows(maps: Tensor) -> Tensor:
        batch, _, _, channels = maps.shape
        tiles = maps.view(batch, side // 7, 7, side // 7, 7, channels).transpose(2, 3)
        return tiles.reshape(-1, 49, channels)

    q, k, v = (_heads(one, heads) for one in linear(b, "attn.qkv", cut_windows(x)).chunk(3, -1))
    place = torch.cartesian_prod(torch.arange(7), torch.arange(7))
    apart = place[:, None] - place[None] + 6
    bias = b["attn.relative_position_bias_table"][apart[..., 0] * 13 + apart[..., 1]].permute(2, 0, 1)
    regions = cut_windows(region)
    strangers = (regions != regions.mT).repeat(n, 1, 1)[:, None]
    weights = (q @ k.mT / math.sqrt(q.shape[-1]) + bias).masked_fill(strangers, -math.inf).softmax(-1)
    found = linear(b, "attn.proj", (weights @ v).transpose(1, 2).flatten(2))
    found = found.view(n, side // 7, side // 7, 7, 7, -1).transpose(2, 3).reshape(n, side, side, -1)
    return found.roll((shift, shift), (1, 2))


def dinov2(p: State, x: Tensor, heads: int) -> Tensor:
    """-> the normed class token and the mean of the normed patches, side by side (n, 2 D)."""
    x = F.conv2d(x, p["patch_embed.proj.weight"], p["patch_embed.proj.bias"], stride=14)
    grid = p["pos_embed"][:, 1:].mT.unflatten(2, (math.isqrt(p["pos_embed"].shape[1] - 1), -1))
    x = (x + F.interpolate(grid, x.shape[2:], mode="bicubic", antialias=True)).flatten(2).mT
    first = p["cls_token"] + p["pos_embed"][:, :1]
    x = torch.cat((first.expand(len(x), -1, -1), p["register_tokens"].expand(len(x), -1, -1), x), 1)
    for b in (part(p, f"blocks.{index}.") for index in range(sum(name.endswith("ls1.gamma") for name in p))):
        q, k, v = (_heads(one, heads) for one in linear(b, "attn.qkv", layer_norm(b, "norm1", x)).chunk(3, -1))
        x = x + b["ls1.gamma"] * linear(b, "attn.proj", _attend(q, k, v))
        x = x + b["ls2.gamma"] * _mlp(b, "mlp", layer_norm(b, "norm2", x))
    x = layer_norm(p, "norm", x)
    return torch.cat((x[:, 0], x[:, 5:].mean(1)), 1)


def dinov3(p: State, x: Tensor, heads: int) -> Tensor:
    """-> the normed class token. Queries and keys of patches are turned by their place, from -1 to 1 along each side."""
    x = F.conv2d(x, p["patch_embed.proj.weight"], p["patch_embed.proj.bias"], stride=16)
    rows, columns = (2 * (torch.arange(n) + 0.5) / n - 1 for n in x.shape[2:])
    size = x.shape[1] // heads
    periods = 100.0 ** (2 * torch.arange(size // 4) / (size // 2))
    angles = 2 * math.pi * torch.cartesian_prod(rows, columns)[:, :, None] / periods
    angles = angles.flatten(1).tile(2)

    def turn(tokens: Tensor) -> Tensor:
        first, second = tokens[:, :, 5:].chunk(2, -1)
        turned = tokens[:, :, 5:] * angles.cos() + torch.cat((-second, first), -1) * angles.sin()
        return torch.cat((tokens[:, :, :5], turned), 2)

    x = x.flatten(2).mT
    x = torch.cat((p["cls_token"].expand(len(x), -1, -1), p["storage_tokens"].expand(len(x), -1, -1), x), 1)
    for b in (part(p, f"blocks.{index}.") for index in range(sum(name.endswith("ls1.gamma") for name in p))):
        masked = torch.cat((torch.ones(x.shape[2]), torch.zeros(x.shape[2]), torch.ones(x.shape[2])))
        qkv = F.linear(layer_norm(b, "norm1", x, 1e-5), b["attn.qkv.weight"], b["attn.qkv.bias"] * masked)
        q, k, v = (_heads(one, heads) for one in qkv.chunk(3, -1))
        x = x + b["ls1.gamma"] * linear(b, "attn.proj", _attend(turn(q), turn(k), v))
        x = x + b["ls2.gamma"] * _mlp(b, "mlp", layer_norm(b, "norm2", x, 1e-5))
    return layer_norm(p, "norm", x, 1e-5)[:, 0]


def eva02(p: State, x: Tensor, heads: int) -> Tensor:
    """-> the normed mean of the patches. Queries and keys of patches are turned by their place on a grid of 16 x 16."""
    x = F.conv2d(x, p["patch_embed.proj.weight"], p["patch_embed.proj.bias"], stride=14)
    rows, columns = (torch.arange(n) / n * 16 for n in x.shape[2:])
    half = x.shape[1] // heads // 2
    rates = 10000.0 ** -(torch.arange(0, half, 2) / half)
    angles = (torch.cartesian_prod(rows, columns)[:, :, None] * rates).flatten(1).repeat_interleave(2, 1)

    def turn(tokens: Tensor) -> Tensor:
        even, odd = tokens[:, :, 1:, 0::2], tokens[:, :, 1:, 1::2]
        across = torch.stack((-odd, even), -1).flatten(3)
        return torch.cat((tokens[:, :, :1], tokens[:, :, 1:] * angles.cos() + across * angles.sin()), 2)

    x = x.flatten(2).mT
    x = torch.cat((p["cls_token"].expand(len(x), -1, -1), x), 1) + p["pos_embed"]
    for b in (part(p, f"blocks.{index}.") for index in range(sum(name.endswith("attn.q_bias") for name in p))):
        bias = torch.cat((b["attn.q_bias"], torch.zeros(x.shape[2]), b["attn.v_bias"]))
        qkv = F.linear(layer_norm(b, "norm1", x), b["attn.qkv.weight"], bias)
        q, k, v = (_heads(one, heads) for one in qkv.chunk(3, -1))
        x = x + linear(b, "attn.proj", _attend(turn(q), turn(k), v))
        gate, value = linear(b, "mlp.w12", layer_norm(b, "norm2", x)).chunk(2, -1)
        x = x + linear(b, "mlp.w3", F.silu(gate) * value)
    return layer_norm(p, "fc_norm", x[:, 1:].mean(1))


def convnext(p: State, x: Tensor) -> Tensor:
    """-> the normed mean of the positions."""

    def norm(name: str, maps: Tensor) -> Tensor:
        return layer_norm(p, name, maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    for stage in range(4):
        weight = p[f"downsample_layers.{stage}.{int(stage > 0)}.weight"]
        bias = p[f"downsample_layers.{stage}.{int(stage > 0)}.bias"]
        x = norm(f"downsample_layers.{stage}.0", x) if stage else x
        x = F.conv2d(x, weight, bias, stride=weight.shape[-1])
        x = x if stage else norm("downsample_layers.0.1", x)
        index = 0
        while f"stages.{stage}.{index}.gamma" in p:
            b = part(p, f"stages.{stage}.{index}.")
            y = F.conv2d(x, b["dwconv.weight"], b["dwconv.bias"], padding=3, groups=x.shape[1])
            y = layer_norm(b, "norm", y.permute(0, 2, 3, 1))
            y = b["gamma"] * linear(b, "pwconv2", F.gelu(linear(b, "pwconv1", y)))
            x, index = x + y.permute(0, 3, 1, 2), index + 1
    return layer_norm(p, "norm", x.mean((2, 3)))


def siglip(p: State, x: Tensor, heads: int) -> Tensor:
    """Both towers' entries -> the embedding of pictures: what one learned query draws from the normed patches."""
    p = part(p, "vision_model.")

    def mlp(b: State, tokens: Tensor) -> Tensor:
        return linear(b, "mlp.fc2", F.gelu(linear(b, "mlp.fc1", tokens), approximate="tanh"))

    name = "embeddings.patch_embedding"
    x = F.conv2d(x, p[f"{name}.weight"], p[f"{name}.bias"], stride=16).flatten(2).mT
    x = x + p["embeddings.position_embedding.weight"]
    for b in (part(p, f"encoder.layers.{index}.") for index in range(sum(name.endswith("q_proj.bias") for name in p))):
        normed = layer_norm(b, "layer_norm1", x)
        q, k, v = (_heads(linear(b, f"self_attn.{one}_proj", normed), heads) for one in "qkv")
        x = x + linear(b, "self_attn.out_proj", _attend(q, k, v))
        x = x + mlp(b, layer_norm(b, "layer_norm2", x))
    x, head = layer_norm(p, "post_layernorm", x), part(p, "head.")
    weights, biases = head["attention.in_proj_weight"].chunk(3), head["attention.in_proj_bias"].chunk(3)
    queries = head["probe"].expand(len(x), -1, -1)
    q, k, v = (_heads(F.linear(*one), heads) for one in zip((queries, x, x), weights, biases, strict=True))
    x = linear(head, "attention.out_proj", _attend(q, k, v))
    return (x + mlp(head, layer_norm(head, "layernorm", x)))[:, 0]
