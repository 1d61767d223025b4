"""From files of weights to named tensors: nothing in a file is ever run, and every tensor is accounted for."""

import argparse
import threading
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from xai_core.core.errors import WeightsUnavailable
from xai_core.core.files import open_regular
from xai_core.models.card import Card, File

Tensors = dict[str, Tensor]
NOT_READ = ("num_batches_tracked", "relative_position_index", "attn_mask")  # counters, and tables that networks make
MOST, DEEPEST = 100_000, 20  # entries of a file, and levels of dictionaries: one may hold itself
_LOADING = threading.Lock()  # what is safe to unpickle is a list of the process, not of the thread


@dataclass(frozen=True)
class Naming:
    """How a library names a module's tensors.

    rename      does what a file's own table of names cannot: (tensors under the network's names, module) -> tensors
    head        the name of the module's classifier, whose shape tells the number of classes
    """

    rename: Callable[[Tensors, nn.Module], Tensors] | None = None
    head: str = ""


def gather(
    card: Card, files: Sequence[File], paths: Sequence[Path], module: nn.Module, naming: Naming = Naming()
) -> Tensors:
    """All tensors of a module by its own names, from a checkpoint's files, each of which must hold its share exactly.

    Raises WeightsUnavailable.
    """
    state: Tensors = {}
    for file, path in zip(files, paths, strict=True):
        try:
            state |= read_share(card, file, files, path, module, naming)
        except WeightsUnavailable as problem:
            again = f" Delete {path} to have it fetched again." if file.url else ""
            raise WeightsUnavailable(f"{problem}{again}") from problem
    return state


def read_share(
    card: Card,
    file: File,
    files: Sequence[File],
    path: Path,
    module: nn.Module,
    naming: Naming = Naming(),
) -> Tensors:
    """What one of a checkpoint's files holds for the module, under the module's names. Raises WeightsUnavailable."""
    expected = {
        name: value
        for name, value in module.state_dict().items()
        if not name.endswith(NOT_READ) and _owner(name, files) is file
    }
    try:
        tensors = renamed(_read(path), file.names)
        if file.ordered and len(tensors) == len(expected):
            tensors = dict(zip(expected, tensors.values(), strict=True))
        tensors = _library_names(naming, tensors, module)
        _check(tensors, expected, file, naming.head)
    except _Unfit as problem:
        raise WeightsUnavailable(f"{path.name} cannot be read as the weights of {card.title}: {problem}.") from problem
    return tensors


class _Unfit(Exception):
    """What is wrong with a file, as a part of a sentence."""


def _read(path: Path) -> Tensors:
    """All tensors of a file by their flat names: a slash for every level of nesting."""
    try:
        with open_regular(path) as file:
            mapped = zipfile.is_zipfile(file)
        if path.suffix == ".safetensors":
            content = safetensors.torch.load_file(path)
        else:
            with _LOADING, torch.serialization.safe_globals([argparse.Namespace]):  # training files keep their options
                # Runs no code that a file may hold. Mapped: an optimizer's state is never read from the disk.
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # unpickling damaged files raises anything
        raise _Unfit("it holds something else, or is damaged") from error
    if not isinstance(content, Mapping):
        raise _Unfit("it holds something other than named tensors")
    return _flat(content)


def _flat(content: Mapping[str, Any]) -> Tensors:
    tensors: Tensors = {}
    waiting: list[tuple[int, str, Any]] = [(0, name, value) for name, value in reversed([*content.items()])]
    for _ in range(MOST):
        if not waiting:
            return tensors
        depth, name, value = waiting.pop()
        if isinstance(value, Mapping) and depth < DEEPEST:
            waiting += [(depth + 1, f"{name}/{inner}", part) for inner, part in reversed([*value.items()])]
        elif isinstance(value, Mapping):
            break
        elif isinstance(value, Tensor):
            if value.is_nested or value.layout != torch.strided or value.is_quantized or value.is_complex():
                raise _Unfit(f"{name} is no plain tensor")
            tensors[str(name)] = value
    raise _Unfit("it has too many entries, or a dictionary in it holds itself")


def renamed(state: Tensors, names: Mapping[str, str]) -> Tensors:
    """The tensors under the network's names. Those that no rule fits, in nests that a rule names, keep their own name, so
    that they are reported as unexpected."""
    nests = {theirs.rpartition("/")[0] for theirs in names}
    named: Tensors = {}
    for name, value in state.items():
        theirs = next((theirs for theirs in names if name.startswith(theirs)), None)
        ours = name if theirs is None else names[theirs] + name.removeprefix(theirs)
        if ours in named:
            raise _Unfit(f"it holds {ours} twice, also as {name}")
        if theirs is not None or name.rpartition("/")[0] in nests:
            named[ours] = value
    return {name: value for name, value in named.items() if not name.endswith(NOT_READ)}


def _library_names(naming: Naming, tensors: Tensors, module: nn.Module) -> Tensors:
    try:
        return naming.rename(tensors, module) if naming.rename else tensors
    except Exception as error:  # a library's function that was not made for other networks' files
        raise _Unfit("its entries are those of another network") from error


def _owner(name: str, files: Sequence[File]) -> File:
    """The file that should hold this entry: the one whose table of names says it most exactly."""

    def exactness(file: File) -> int:
        return max((len(ours) for ours in file.names.values() if name.startswith(ours)), default=-1)

    return max(files, key=exactness)


def _check(tensors: Tensors, expected: Tensors, file: File, head: str) -> None:
    """Raises _Unfit where the entries differ from those expected, with the first of each kind."""
    both = [name for name in expected if name in tensors]
    wrong = [name for name in both if tensors[name].shape != expected[name].shape]
    missing = [name for name in expected if name not in tensors and name not in file.optional]
    unexpected = [name for name in tensors if name not in expected]
    if f"{head}.weight" in wrong and not missing and not unexpected:
        (has, *rest), (wants, *same) = (state[f"{head}.weight"].shape for state in (tensors, expected))
        if rest == same and has != wants:
            raise _Unfit(f"it has {has} classes, but the model's card has {wants}")
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": wrong}
    misfit = "; ".join(f"{len(names)} {how}, such as {', '.join(names[:3])}" for how, names in kinds.items() if names)
    if misfit:
        first = next(iter(expected))
        shape = " x ".join(map(str, expected[first].shape))
        raise _Unfit(f"{misfit}; this network has {len(expected)} tensors, the first is {_theirs(first, file)} ({shape})")


def _theirs(name: str, file: File) -> str:
    """What an entry of the network is called in the file."""
    theirs, ours = next((pair for pair in file.names.items() if name.startswith(pair[1])), ("", ""))
    return theirs + name.removeprefix(ours)
