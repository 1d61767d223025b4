"""Networks of timm and torchvision taken apart by themselves: `python -m benchmarks.any_network [--minutes 5]`.

One small architecture of each of timm's modules and every classifier of torchvision, with random weights: how many cuts,
their grids, the default cut, and whether every cut gives the plain module's logits. Writes
benchmarks/results/any_network.json after each network (what is there already is not run again) and docs/any-network.md.
`--table` writes the table only.
"""

import argparse
import json
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xai_core.attribution.catalog import METHODS
from xai_core.core.errors import BadRequest, XaiError
from xai_core.data.recipe import Recipe
from xai_core.models.explainable import ExplainableModel
from xai_core.models.staged import StagedNetwork
from xai_core.models.tracing import timm, torchvision

ROOT = Path(__file__).parents[1]
RESULTS, TABLE = ROOT / "benchmarks" / "results" / "any_network.json", ROOT / "docs" / "any-network.md"
CAMS = RESULTS.with_name("any_network_cams.json")
PICTURES = 3  # on which `benchmarks.any_network_cams` compares maps
SIDES = (96, 128, 224, 256)  # of pictures in pixels; the first that a network takes, behind its own
LARGE = 200e6  # parameters: larger networks are left out, of which smaller ones of the same kind are here
SMALL = {  # timm's module -> the architecture
    "beit": "beit_base_patch16_224",
    "byoanet": "eca_halonext26ts",
    "byobnet": "test_byobnet",
    "cait": "cait_xxs24_224",
    "coat": "coat_tiny",
    "convit": "convit_tiny",
    "convmixer": "convmixer_768_32",
    "convnext": "convnext_atto",
    "cpubone": "cpubone_nano",
    "crossvit": "crossvit_tiny_240",
    "csatv2": "csatv2",
    "cspnet": "cs3darknet_focus_s",
    "cspnext": "cspnext_tiny",
    "davit": "davit_tiny",
    "deepseek_vit": "deepseek_vit_412m",
    "deit": "deit_tiny_patch16_224",
    "densenet": "densenet121",
    "dla": "dla34",
    "dpn": "dpn68",
    "edgenext": "edgenext_xx_small",
    "efficientformer": "efficientformer_l1",
    "efficientformer_v2": "efficientformerv2_s0",
    "efficientnet": "test_efficientnet",
    "efficientvim": "efficientvim_m1",
    "efficientvit_mit": "efficientvit_b0",
    "efficientvit_msra": "efficientvit_m0",
    "eva": "vit_tiny_patch16_dinov3_qkvb",
    "fasternet": "fasternet_t0",
    "fastvit": "fastvit_s12",
    "focalnet": "focalnet_tiny_srf",
    "gcvit": "gcvit_xxtiny",
    "gemma4_vit": "gemma4_vit_167m",
    "ghostnet": "ghostnet_050",
    "hardcorenas": "hardcorenas_b",
    "hgnet": "hgnetv2_b0",
    "hiera": "hiera_tiny_224",
    "hieradet_sam2": "sam2_hiera_tiny",
    "hrnet": "hrnet_w18_small",
    "iformer": "iformer_s",
    "inception_next": "inception_next_atto",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3",
    "inception_v4": "inception_v4",
    "lcnetv2": "lcnetv2_small",
    "levit": "levit_384_s8",
    "lowformer": "lowformer_b0",
    "mambaout": "test_mambaout",
    "maxxvit": "test_coatnet",
    "metaformer": "caformer_s18",
    "mlp_mixer": "mixer_s16_224",
    "mobilenetv3": "mobilenetv3_small_050",
    "mobilenetv5": "mobilenetv5_base",
    "mobilevit": "mobilevit_xxs",
    "mvitv2": "mvitv2_tiny",
    "naflexvit": "naflexvit_base_patch16_siglip",
    "nasnet": "nasnetalarge",
    "nest": "nest_tiny",
    "nextvit": "nextvit_small",
    "nfnet": "test_nfnet",
    "pit": "pit_xs_224",
    "pnasnet": "pnasnet5large",
    "pvt_v2": "pvt_v2_b0",
    "qwen3_vit": "qwen3_vit_88m",
    "rdnet": "rdnet_tiny",
    "regnet": "regnetx_002",
    "repghost": "repghostnet_050",
    "repvit": "repvit_m1",
    "res2net": "res2net50_14w_8s",
    "resnest": "resnest14d",
    "resnet": "resnet18",
    "resnetv2": "resnetv2_101",
    "rexnet": "rexnet_100",
    "selecsls": "selecsls42",
    "senet": "legacy_seresnet18",
    "sequencer": "sequencer2d_s",
    "shvit": "shvit_s1",
    "sknet": "skresnet18",
    "starnet": "starnet_s050",
    "swiftformer": "swiftformer_xs",
    "swin_transformer": "swin_tiny_patch4_window7_224",
    "swin_transformer_v2": "swinv2_tiny_window16_256",
    "swin_transformer_v2_cr": "swinv2_cr_tiny_224",
    "tiny_vit": "tiny_vit_5m_224",
    "tnt": "tnt_s_legacy_patch16_224",
    "tresnet": "tresnet_m",
    "twins": "twins_svt_small",
    "vgg": "vgg11",
    "visformer": "visformer_tiny",
    "vision_transformer": "vit_tiny_patch16_224",
    "vision_transformer_hybrid": "vit_tiny_r_s16_p8_224",
    "vision_transformer_relpos": "test_vit_relpos",
    "vision_transformer_sam": "samvit_base_patch16_224",
    "vitamin": "vitamin_small_224",
    "volo": "volo_d1_224",
    "vovnet": "ese_vovnet19b_slim_dw",
    "xception": "legacy_xception",
    "xception_aligned": "xception41p",
    "xcit": "xcit_nano_12_p8_224",
}

SMALLER = {"deepseek_vit_412m": {"depth": 2}}  # arguments, where a module has large architectures only

Row = dict[str, Any]


def networks() -> Iterator[tuple[str, str, str]]:
    """(library, its module, architecture)"""
    for module in timm.list_modules():
        yield "timm", module, SMALL[module]
    for name in torchvision.models.list_models(module=torchvision.models):
        yield "torchvision", torchvision.models.get_model_builder(name).__module__.rpartition(".")[2], name


def created(library: str, architecture: str) -> nn.Module:
    """With a classifier of ten classes, also where the library's own has none."""
    create = timm.create_model if library == "timm" else torchvision.models.get_model
    given = {"init_weights": False} if library == "torchvision" and architecture in ("googlenet", "inception_v3") else {}
    net: nn.Module = create(architecture, num_classes=10, **given, **SMALLER.get(architecture, {}))
    return net


def size(library: str, architecture: str) -> int:
    """How many parameters it has."""
    if library == "torchvision":  # not every network of torchvision can be made without memory
        weights = next(iter(torchvision.models.get_model_weights(architecture)))
        return int(weights.meta["num_params"])
    with torch.device("meta"):
        return sum(one.numel() for one in created(library, architecture).parameters())


def made(library: str, architecture: str) -> nn.Module:
    """The library's module with random weights; parameters that are zero in a fresh network are drawn as well, so that
    nothing is switched off."""
    torch.manual_seed(0)
    net = created(library, architecture).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.uniform_(0.05, 0.1)
    return net


def side_of(net: nn.Module) -> int:
    """The smallest side that it takes."""
    own = getattr(net, "default_cfg", {}).get("input_size", (3, 224, 224))[-1]
    for side in sorted({*SIDES, own}):
        try:
            with torch.no_grad():
                net(torch.zeros(2, 3, side, side))
        except Exception:
            continue
        return side
    raise BadRequest("It takes pictures of none of the sizes that were tried.")


def measured(library: str, module: str, architecture: str) -> Row:
    row: Row = {"library": library, "module": module, "architecture": architecture}
    row["parameters"] = large = size(library, architecture)
    if large > LARGE:
        return row | {"left out": f"{large / 1e6:,.0f} million parameters"}
    net = made(library, architecture)
    try:
        side = side_of(net)
        begin = time.perf_counter()
        model = ExplainableModel.from_module(net, recipe=Recipe(side, side, mean=None, std=None))
        row |= {"side": side, "seconds": round(time.perf_counter() - begin, 1)}
        row |= described(model, net, side)
    except XaiError as error:
        row["refused"] = str(error)
    except Exception as error:
        row["failed"] = f"{type(error).__name__}: {error}"
    return row


def described(model: ExplainableModel, net: nn.Module, side: int) -> Row:
    """Cuts, grids, and the largest difference of any cut's logits from the plain module's, in units of the largest logit."""
    network, images = model.network, torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = net(images)
        unit = float(expected.abs().max())
        insides = [name for name in (network.inside.names if network.inside else ()) if name not in model.cuts]
        inner = list(_inner_laws(model, insides[:: max(1, len(insides) // 4)], images, expected, unit))
        law = max(_difference(logits, expected, unit) for logits in _logits_behind(network, images))
        default = network.cut_name(None)
        layouts = {stage.name: stage.layout for stage in network.stages}
        none = Counter(words for words in layouts.values() if words.startswith("No grid"))
        has_grid = not layouts[default].startswith("No grid")
        size = list(network.grid(network.trunk(images[:1], default), default).shape[2:]) if has_grid else None
    return {
        "traced": network.inside is not None,
        "cuts": len(model.cuts),
        "grids": len(layouts) - sum(none.values()),
        "without": [words for words, _ in none.most_common()],
        "inside": len(insides),
        "default": default,
        "layout": layouts[default],
        "grid": size,
        "sizes": "any" if network.input_size is None else "one",
        "law": law,
        "inside tested": len(inner),
        "law inside": max(inner, default=0.0),
        "unit": unit,
        "fit": sum(not method.misfit(model) and (has_grid or "cut" not in method.needs) for method in METHODS.values()),
        "misfit": {name: why for name, method in METHODS.items() if (why := method.misfit(model))},
    }


def _logits_behind(network: StagedNetwork, images: Tensor) -> Iterator[Tensor]:
    """Of the tail behind each cut, with the activations there (as `trunk` makes them, each from the one before)."""
    activations = network.trunk(images, network.cuts[0])
    for stage, cut in zip((*network.stages[1:], None), network.cuts, strict=True):
        yield network.tail(activations, cut).logits
        activations = stage.run(activations) if stage else activations


def _inner_laws(model: ExplainableModel, names: list[str], images: Tensor, expected: Tensor, unit: float) -> Iterator[float]:
    """The same of some cuts inside blocks; those that need more than tensors of one row for each picture are left out."""
    for name in names:
        try:
            packed = model.network.trunk(images, name)
        except BadRequest:
            continue
        yield _difference(model.network.tail(packed, name).logits, expected, unit)


def _difference(found: Tensor, expected: Tensor, unit: float) -> float:
    return float((found - expected).abs().max()) / unit if unit else float("nan")


def read(path: Path = RESULTS) -> list[Row]:
    return list(json.loads(path.read_text())) if path.exists() else []


def holds(row: Row) -> bool:
    """Whether a network has three cuts or more, and each that was tried gives the plain module's logits to 1e-4 of the
    largest."""
    return row.get("cuts", 0) + row.get("inside tested", 0) >= 3 and max(row["law"], row["law inside"]) <= 1e-4


GUIDE = """\
# Any network

```python
import timm
from xai_core import ExplainableModel, explain

model = ExplainableModel.from_module(timm.create_model("convnext_atto", pretrained=True), class_names=names)
print(model.cuts, model.network.cut_name(None))  # where it can be cut, and where it is cut unless you say so
explain(model, "dog.jpg", "grad_cam", target="tabby")
explain(model, "dog.jpg", "grad_cam", target="tabby", cut="stages.3.blocks.1.norm")  # behind any module
```

`from_module` takes a classifier of torch, timm or torchvision, (n, 3, H, W) to logits (n, K). [In Python](python.md)
has its other arguments. Your module is copied once, in eval mode, with weights in 32 bits; it is neither changed nor
hooked.

- **Cuts** are the outputs of blocks, and of modules outside of blocks, behind which one tensor carries everything.
  Cut there, the network gives the logits of the plain module. The outputs of modules inside blocks are cuts as well;
  on the pages they are listed with *Layers inside blocks, too*.
- **The default cut** is the last grid on which the features depend at most places: before pooling, or before the last
  block where only a class token is read.
- **By hand**: `from_module(net, cuts=["layer3", "layer4"])`. Where torch.fx cannot follow the forward pass (branches
  that depend on values), this is the only way to have cuts; each must carry everything, which is checked, and each
  part then runs the network up to its cut again, so that tails take as long as the whole network.
- **Limits**: one answer (n, K) of two classes or more, the same for the same picture. Attention weights are read of
  the families written by hand only. A cut inside a block is offered on pictures of the network's usual size, and not
  on windows of several pictures. A network of parallel branches is one piece; each branch can be chosen as a cut
  inside it.

What follows was measured on networks with random weights: `python -m benchmarks.any_network` and `python -m
benchmarks.any_network_cams`.
"""
COLUMNS = """\
*Cuts*: those that are listed, and in brackets those inside. *Grid*: its size at the default cut, for pictures of the
given side (the smallest that the network takes), and at how many listed cuts there is one. *Law*: the largest difference,
over all cuts listed and up to five inside, between the logits of the network cut there and those of the plain module, as
a share of the largest logit. *Fit*: how many of the {methods} methods answer at the default cut; the letters say what
the others need.
"""
WORDS = {"timm": "modules, one small architecture of each", "torchvision": "classification networks"}
LETTERS = "abcdefgh"


def table(rows: list[Row], cams: list[Row]) -> str:
    """The document."""
    reasons = list(dict.fromkeys(why for row in rows for why in reasons_of(row)))
    lines = [
        GUIDE,
        "## Cuts, grids and methods",
        "",
        COLUMNS.format(methods=len(METHODS)),
    ]
    for library, what in WORDS.items():
        of_library = [row for row in rows if row["library"] == library]
        grids = sum(row.get("grid") is not None for row in of_library)
        lines += [
            f"### {library}",
            "",
            f"{sum(map(holds, of_library))} of {len(of_library)} {what}, can be cut at three places or more, each with the",
            f"plain module's logits. {grids} have a grid at the default cut.",
            "",
            "| module | architecture | pictures | cuts | default cut | grid | law | fit |",
            "|---|---|--:|--:|---|---|--:|--:|",
            *(_line(row, reasons) for row in of_library),
            "",
        ]
    lines += ["### What does not fit, and why", "", "| | networks | why | methods |", "|---|--:|---|---|"]
    for letter, why in zip(LETTERS, reasons, strict=False):
        those = [row for row in rows if why in reasons_of(row)]
        names = dict.fromkeys(name for row in those for name in reasons_of(row)[why])
        lines.append(f"| {letter} | {len(those)} | {why} | {', '.join(METHODS[name].title for name in names)} |")
    without = [row for row in rows if not holds(row)]
    if without:
        lines += ["", "### Not cut at three places, and why", ""]
        lines += [f"- {row['library']} `{row['architecture']}`: {_refusal(row)}" for row in without]
    return "\n".join([*lines, "", *(_cams(cams) if cams else [])]).rstrip() + "\n"


def reasons_of(row: Row) -> dict[str, list[str]]:
    """Why methods do not fit a network -> these methods. Without a grid at the default cut, all that need a cut do not."""
    found: dict[str, list[str]] = {}
    for name, why in row.get("misfit", {}).items():
        found.setdefault(why.partition(" needs ")[2], []).append(name)
    if "cuts" in row and row["grid"] is None:
        others = [name for name, method in METHODS.items() if "cut" in method.needs and name not in row["misfit"]]
        found["a grid at the cut, which is not at the default one."] = others
    return found


def _line(row: Row, reasons: list[str]) -> str:
    smaller = "".join(f", {name}={value}" for name, value in SMALLER.get(row["architecture"], {}).items())
    head = f"| {row['module']} | {row['architecture']}{smaller} "
    if "cuts" not in row:
        return f"{head}| | | see below | | | |"
    side = f"{row['side']} px" + ("" if row["sizes"] == "any" else " only")
    size = f"{row['grid'][0]} x {row['grid'][1]}, {row['layout']}" if row["grid"] else row["layout"].rstrip(".")
    where = f"{size}; at {row['grids']} of {row['cuts']}"
    letters = "".join(LETTERS[reasons.index(why)] for why in reasons_of(row))
    law = f"{max(row['law'], row['law inside']):.0e}"
    return (
        f"{head}| {side} | {row['cuts']} ({row['inside']}) | `{row['default']}` | {where} | {law} | {row['fit']} {letters} |"
    )


def _refusal(row: Row) -> str:
    if "left out" in row:
        return f"not tried, {row['left out']}."
    if "refused" in row or "failed" in row:
        return str(row.get("refused") or row["failed"]).split("\n")[0]
    return (
        f"{row['layout'].rstrip('.')}." if row["cuts"] < 3 else f"the logits of the cut network differ by {row['law']:.0e}."
    )


def _cams(rows: list[Row]) -> list[str]:
    """The section about agreement with grad-cam, and speed."""
    exact = sum(min(row["rho at the layer"]) >= 0.999 for row in rows)
    default = sum(min(row["rho of the default"]) >= 0.99 for row in rows)
    ratios = [row["speed"]["ratio"] for row in rows]
    passes = min(row["speed"]["pairs"] for row in rows)
    near = sum(ratio <= 1.03 for ratio in ratios)
    words = f"""\
{len(rows)} much used architectures; Grad-CAM's signed map of {PICTURES} pictures. *At the layer*: our map, cut at the
layer that grad-cam's README recommends for the family (where it names none, the last layer before pooling), beside
grad-cam's own map there: Spearman's rank correlation, the least of the pictures. *At the default*: our map at the
default cut beside the same. {exact} of {len(rows)} agree at the layer to at least 0.999, {default} of {len(rows)} at
the default to at least 0.99. The others are transformers, where the README's layer is a norm inside the last block
and the default is not: a map at the norm follows only what goes through the attention of this block, and one at the
default follows what goes past it, too. Choose the norm as the cut for the README's map.

*Speed*: CPU time of a forward pass through the stages as a share of the plain module's, in turns, one thread, the
least of {passes} passes or more each. Median {statistics.median(ratios):.3f}; {near} of {len(rows)} take
at most 1.03 times as long.
"""
    return [
        "## Grad-CAM beside the library grad-cam, and speed",
        "",
        words,
        "| library | architecture | README's layer | at the layer | default cut | at the default | speed |",
        "|---|---|---|--:|---|--:|--:|",
        *(
            f"| {row['library']} | {row['architecture']} | `{row['layer']}` | {min(row['rho at the layer']):.4f} | "
            f"`{row['default']}` | {min(row['rho of the default']):.4f} | {row['speed']['ratio']:.3f} |"
            for row in rows
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--library", default="")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    end, rows = time.monotonic() + 60 * given.minutes, read()
    done = {(row["library"], row["architecture"]) for row in rows}
    order = list(networks())
    for library, module, architecture in order:
        if given.table or time.monotonic() > end:
            break
        if (library, architecture) in done or given.library not in ("", library):
            continue
        rows.append(measured(library, module, architecture))
        print(
            {
                name: rows[-1].get(name)
                for name in ("architecture", "side", "seconds", "cuts", "grid", "law", "law inside", "refused", "failed")
            },
            flush=True,
        )
        rows.sort(key=lambda row: order.index((row["library"], row["module"], row["architecture"])))
        RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    TABLE.write_text(table(rows, read(CAMS)))


if __name__ == "__main__":
    main()
