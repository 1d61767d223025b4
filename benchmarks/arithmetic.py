"""What `exact` arithmetic reaches of a processor, what its time goes to, and what would change it.

    python -m benchmarks.arithmetic [--only PART] [--rounds N] [--out FILE]

methods   floating-point operations a second of whole methods on a ResNet-50, as a share of a large matrix product's
profile   where the time of two of them goes, by operator
folding   batch norms folded into the convolutions before them: milliseconds a picture, and how far maps of photographs move
formats   the two memory formats
batches   how many pictures go through a network at once
compile   torch.compile: the first forward pass and the ones after it

Other work may run beside it: all times are the processors' seconds of this process, and what is compared takes turns.
The ResNet-50 has random weights, which cost what trained ones do; the EfficientNet-Lite0 is the trained one.
"""

import argparse
import copy
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.profiler import ProfilerActivity, profile

from benchmarks.methods import Flops
from benchmarks.paired import Work, machine
from xai_core import explain, load_model, load_sample
from xai_core.core import runtime
from xai_core.data.samples import SAMPLES
from xai_core.explanation.agreement import rank_correlation
from xai_core.models import families
from xai_core.models.building import filled, random_module
from xai_core.models.explainable import ExplainableModel
from xai_core.models.staged import freeze
from xai_core.models.weights import locate
from xai_core.models.zoo.catalog import find_card

NETWORKS = {"resnet50": "random", "efficientnet_lite0": None}
METHODS: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"steps": 10},
    "smooth_grad": {"samples": 10},
    "lime": {"samples": 32},
    "rise": {"samples": 32},
    "occlusion": {"window": 64, "stride": 56},
}
MAPS = ("saliency", "integrated_gradients", "smooth_grad", "lime", "rise")
SIDE = 2048  # of the matrices of the product
BATCH, SWEEP = (runtime.inner_batch(224 * 224, torch.device("cpu"), graph) for graph in (True, False))  # pictures at once


def processor_seconds(works: Mapping[str, Work], rounds: int) -> dict[str, float]:
    """The median seconds of the processors that each piece of work takes; all are done once in every round."""
    for work in works.values():
        work()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            began = time.process_time()
            work()
            seconds[name].append(time.process_time() - began)
    return {name: float(np.median(values)) for name, values in seconds.items()}


def module_of(name: str) -> nn.Module:
    """The library's module of a network, frozen."""
    card = find_card(name)
    if NETWORKS[name]:
        return freeze(random_module(card, 0))
    checkpoint = card.checkpoints[0]
    return freeze(filled(card, checkpoint, [path for path, _ in locate.obtain(card, checkpoint)]))


def norms_behind_convolutions(module: nn.Module, pictures: Tensor) -> list[tuple[str, str]]:
    """(convolution, norm) by their names, where the norm takes the very tensor that the convolution gives."""
    names = {one: name for name, one in module.named_modules()}
    made, found, hooks = dict[int, tuple[nn.Module, Tensor]](), [], []

    def see(one: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(one, nn.Conv2d):
            made[id(output)] = (one, output)  # kept, so that no later tensor has its id
        elif isinstance(one, nn.BatchNorm2d) and id(inputs[0]) in made:
            found.append((names[made[id(inputs[0])][0]], names[one]))

    for one in names:
        hooks.append(one.register_forward_hook(see))
    with torch.no_grad():
        module(pictures)
    for hook in hooks:
        hook.remove()
    return found


def folded(module: nn.Module, pictures: Tensor) -> nn.Module:
    """A copy whose batch norms are folded into the convolutions before them; a norm of timm leaves its activation."""
    module = copy.deepcopy(module)
    for name, norm in norms_behind_convolutions(module, pictures):
        part = module.get_submodule(norm)
        module.set_submodule(name, fuse_conv_bn_eval(module.get_submodule(name), part))  # type: ignore[arg-type,type-var]
        module.set_submodule(norm, part.act if hasattr(part, "act") else nn.Identity())  # type: ignore[arg-type]
    return freeze(module)


def forward(module: Callable[[Tensor], Tensor], pictures: Tensor) -> Tensor:
    with torch.no_grad():
        return module(pictures)


def gradient(module: Callable[[Tensor], Tensor], pictures: Tensor) -> Tensor:
    leaf = pictures.clone().requires_grad_()
    return torch.autograd.grad(module(leaf)[:, 0].sum(), leaf)[0]


PASSES: dict[str, Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]] = {"forward": forward, "gradient": gradient}


def noise(count: int) -> Tensor:
    drawn = torch.randn(count, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    return drawn.contiguous(memory_format=runtime.MEMORY_FORMAT)


def methods(rounds: int) -> Any:
    model, factor = load_model("resnet50", weights="random"), torch.rand(SIDE, SIDE)
    picture = model.prepare(load_sample("chelsea")).pixels

    def asked(method: str) -> Work:
        return lambda: explain(model, picture, method, target=0, **METHODS[method])

    works: dict[str, Work] = {"product": lambda: factor @ factor} | {method: asked(method) for method in METHODS}
    operations = {"product": 2 * SIDE**3}
    for method in METHODS:
        with Flops() as counter:
            works[method]()
        operations[method] = counter.total
    speed = {name: operations[name] / seconds / 1e9 for name, seconds in processor_seconds(works, rounds).items()}
    return {name: {"gflops": value, "share": value / speed["product"]} for name, value in speed.items()}


def profiles(rounds: int) -> Any:
    model, found = load_model("resnet50", weights="random"), {}
    picture = model.prepare(load_sample("chelsea")).pixels
    for method in ("integrated_gradients", "rise"):
        explain(model, picture, method, target=0, **METHODS[method])
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            explain(model, picture, method, target=0, **METHODS[method])
        times = {one.key: one.self_cpu_time_total for one in seen.key_averages()}
        largest = sorted(times, key=lambda key: -times[key])[:8]
        found[method] = {key.removeprefix("aten::"): times[key] / sum(times.values()) for key in largest}
    return found


def folding(rounds: int) -> Any:
    found: dict[str, Any] = {}
    for name in NETWORKS:
        module = module_of(name)
        other = folded(module, noise(1))
        for words, run in PASSES.items():
            for count in (BATCH, SWEEP):
                both = {"plain": module, "folded": other}
                taken = processor_seconds({key: _work(run, one, noise(count)) for key, one in both.items()}, rounds)
                found[f"{name}, {words} of {count}"] = {key: 1e3 * value / count for key, value in taken.items()}
    found["maps"] = agreement()
    return found


def agreement() -> dict[str, Any]:
    """How far the maps of the photographs move, for the class that is predicted: rank correlation and the norm of the
    difference as a share of the map's, the worst of all. Beside it, what one thread instead of all moves."""
    loaded, module = load_model("efficientnet_lite0"), module_of("efficientnet_lite0")

    def made_of(one: nn.Module) -> ExplainableModel:
        network = replace(families.staged("efficientnet", one), normalise=loaded.network.normalise)
        return replace(loaded, network=network)

    plain, other = made_of(module), made_of(folded(module, noise(1)))
    pictures = [plain.prepare(load_sample(name)).pixels for name in SAMPLES]
    logits = [model.outputs(torch.stack(pictures)).logits for model in (plain, other)]
    found: dict[str, Any] = {"logits": float((logits[0] - logits[1]).abs().max()), "pictures": len(pictures)}
    threads = torch.get_num_threads()
    for method in MAPS:
        options = METHODS.get(method, {})

        def maps(model: ExplainableModel, method: str = method, options: dict[str, Any] = options) -> list[np.ndarray]:
            return [explain(model, picture, method, **options).heatmap for picture in pictures]

        usual = maps(plain)
        found[method] = _moved(usual, maps(other))
        torch.set_num_threads(1)
        found[f"{method}, one thread"] = _moved(usual, maps(plain))
        torch.set_num_threads(threads)
    return found


def _moved(usual: Iterable[np.ndarray], others: Iterable[np.ndarray]) -> dict[str, float]:
    pairs = list(zip(usual, others, strict=True))
    return {
        "rank correlation": min(rank_correlation(a, b) for a, b in pairs),
        "difference": max(float(np.linalg.norm(a - b) / np.linalg.norm(a)) for a, b in pairs),
    }


def formats(rounds: int) -> Any:
    found = {}
    for name in NETWORKS:
        last = module_of(name)
        first = copy.deepcopy(last).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        for words, run in PASSES.items():
            count = BATCH if run is gradient else SWEEP
            works = {
                "contiguous": _work(run, first, noise(count).contiguous()),
                "channels last": _work(run, last, noise(count)),
            }
            taken = processor_seconds(works, rounds)
            found[f"{name}, {words} of {count}"] = {key: 1e3 * value / count for key, value in taken.items()}
    return found


def batches(rounds: int) -> Any:
    found = {}
    for name in NETWORKS:
        module = module_of(name)
        for words, run in PASSES.items():
            counts = (1, 2, 5, 8, 16)
            taken = processor_seconds({str(count): _work(run, module, noise(count)) for count in counts}, rounds)
            found[f"{name}, {words}"] = {count: 1e3 * value / int(count) for count, value in taken.items()}
    return found


def compiled(rounds: int) -> Any:
    """Forward passes, of which runs over many pictures mostly consist. `first` is in seconds of the clock."""
    found = {}
    for name in NETWORKS:
        module = module_of(name)
        faster = torch.compile(module)
        began = time.perf_counter()
        forward(faster, noise(SWEEP))
        first = time.perf_counter() - began
        works = {"plain": _work(forward, module, noise(SWEEP)), "compiled": _work(forward, faster, noise(SWEEP))}
        taken = processor_seconds(works, rounds)
        found[f"{name}, forward of {SWEEP}"] = {key: 1e3 * value / SWEEP for key, value in taken.items()} | {"first": first}
    return found


def _work(run: Callable[..., Tensor], module: Callable[[Tensor], Tensor], pictures: Tensor) -> Work:
    return lambda: run(module, pictures)


PARTS: dict[str, Callable[[int], Any]] = {
    "methods": methods, "profile": profiles, "folding": folding, "formats": formats, "batches": batches, "compile": compiled,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", choices=PARTS, action="append", metavar="PART", help=f"one of {', '.join(PARTS)}; repeatable"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "arithmetic.json")
    given = parser.parse_args()
    runtime.device()
    written = json.loads(given.out.read_text()) if given.out.exists() else {}
    parts = written["parts"] if written.get("machine") == machine() else {}
    for name in given.only or PARTS:
        parts[name] = PARTS[name](given.rounds)
        print(name, json.dumps(parts[name], indent=1), flush=True)
        given.out.write_text(json.dumps({"machine": machine(), "rounds": given.rounds, "parts": parts}, indent=2) + "\n")


if __name__ == "__main__":
    main()
