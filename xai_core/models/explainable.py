"""A model as all rooms use it: a staged network with its preprocessing and the names of its classes."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn

from xai_core.core import runtime
from xai_core.core.cache_key import array_digest, bytes_digest
from xai_core.core.errors import BadRequest, NoClassifier
from xai_core.data.preprocessing import Prepared, prepare, stack
from xai_core.data.recipe import Recipe
from xai_core.models.card import CUSTOM
from xai_core.models.class_names import ClassNames
from xai_core.models.outputs import Outputs, top_classes
from xai_core.models.staged import Stage, StagedNetwork, normalisation

Picture = Image.Image | Tensor | str


class Prediction(NamedTuple):
    """One of the most probable classes; `probability` is the softmax over all of the model's classes, in [0, 1]."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls on a prediction
    name: str
    probability: float


@dataclass(frozen=True)
class ExplainableModel:
    """A network that can be asked why. Read-only: any number of threads may use one at once.

    `family` is one of `card.FAMILIES`, or CUSTOM. `fingerprint` names the weights (a checkpoint's SHA-256, or a
    digest of the parameters); `wnids` are the WordNet ids of the classes where they are ImageNet's; `nbytes` is what the
    parameters take.
    """

    id: str
    title: str
    family: str
    network: StagedNetwork
    recipe: Recipe
    device: torch.device
    fingerprint: str
    class_names: tuple[str, ...] = ()
    wnids: tuple[str, ...] = field(default=(), repr=False)
    nbytes: int = 0

    @classmethod
    def from_stages(
        cls,
        stages: Sequence[tuple[str, Callable[[Tensor], Tensor]]],
        pool: Callable[[Tensor], Tensor],
        project: Callable[[Tensor], Tensor] | None = None,
        classify: Callable[[Tensor], Tensor] | None = None,
        class_names: Sequence[str] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        input_size: int | None = None,
    ) -> "ExplainableModel":
        """Wrap any torch network of your own, as it stands now.

        stages       (name, module or callable) in order: (n,3,H,W) in [0,1], normalised by `mean` and `std` if given,
                     then from one stage to the next; any stage whose output is (n,C,h,w), or tokens (n,N,C) of a
                     square grid, can be the cut of a CAM
        pool         last activations -> features (n,D)
        project      features -> embedding (n,E), the projection head, if there is one
        classify     features -> logits (n,K), the classifier or linear probe, if there is one
        input_size   the side in pixels to which PIL pictures are resized and cropped (default 224)

        Modules are copied, put in eval mode and frozen, in 32 bits: your network is left as it is, and what you do to it
        later does not reach this model. Plain callables are used as they are: what they call must be in eval mode, in 32
        bits. Raises BadRequest where pictures of `input_size` have no answer, or another one when they are asked again.
        """
        from xai_core.models import any_network  # here: timm is imported with it, which takes long

        names, classes = [name for name, _ in stages], _class_names(class_names)
        if isinstance(classify, nn.Linear):
            _check_count(classes, classify.out_features)
        if not names or len(set(names)) != len(names):
            raise BadRequest("Give at least one stage, each with a name of its own.")
        parts = any_network.private_copies([*(run for _, run in stages), pool, project, classify])
        *runs, pool, project, classify = parts
        tensors = any_network.tensors_of(parts)
        device = tensors[0].device if tensors else runtime.device()
        mean, std = _per_channel("mean", mean), _per_channel("std", std)
        network = StagedNetwork(
            stages=tuple(Stage(name, run) for name, run in zip(names, runs, strict=True)),
            pool=pool,
            project=project,
            classify=classify,
            normalise=normalisation(mean, std, device),
        )
        side = input_size or 224
        try:
            _check_count(classes, any_network.check_stages(network, side, device))
        except any_network.OtherSize:
            if input_size is not None:  # otherwise it may be asked with tensors only, which are used as they are
                raise
        opaque = any(part is not None and any_network.module_of(part) is None for part in parts)
        return cls(
            id=CUSTOM,
            title="Your network",
            family=CUSTOM,
            network=network,
            recipe=Recipe(side, side, mean=mean, std=std),
            device=device,
            fingerprint=uuid.uuid4().hex if opaque else _digest([names, parts, mean, std], tensors),
            class_names=classes,
            nbytes=sum(tensor.nbytes for tensor in tensors),
        )

    @classmethod
    def from_module(
        cls,
        net: nn.Module,
        class_names: Sequence[str] | None = None,
        recipe: Recipe | None = None,
        cuts: Sequence[str] | None = None,
        embeds: bool = False,
    ) -> "ExplainableModel":
        """Wrap any classifier of torch, timm or torchvision as it stands now; it is taken apart by itself.

        net          (n,3,H,W), normalised as `recipe` says, -> logits (n,K); or an image classifier of transformers
                     (`from_transformers`)
        class_names  K names
        recipe       how pictures are prepared; None: 224 pixels, ImageNet's mean and spread
        cuts         paths of `net.named_modules()` behind which the network is to be cut, in the order of the forward pass;
                     None: behind every block and every module outside of blocks where one tensor carries everything
        embeds       whether the output is an embedding (n,E) instead of logits: such a network is asked about similarity

        The modules' outputs inside blocks are cuts as well (`cut="blocks.11.norm1"`), though not listed in `cuts`. Where a
        grid cannot be told from the activations, methods that need one say so. A network whose forward pass torch.fx
        cannot follow is one piece, for methods that need pictures and scores only, unless `cuts` are named; they must then
        carry everything, and each part runs the network up to its cut again. The modules are copied once, in eval mode,
        frozen, and in 32 bits; your network is left as it is.
        Raises BadRequest with what is wrong, or UnknownName for a cut.
        """
        from xai_core.models import any_network, transformers_networks  # here: timm is imported with them, which takes long

        if transformers_networks.is_of_transformers(net) and not embeds:
            return cls.from_transformers(net, None, class_names, recipe, cuts)
        recipe, names = recipe or Recipe(), _class_names(class_names)
        copied = any_network.private_copy(net)
        tensors = [*copied.parameters(), *copied.buffers()]
        device = tensors[0].device if tensors else runtime.device()
        network, structure = any_network.staged(copied, recipe.input_size, cuts, embeds)
        count = any_network.class_count(network, recipe.input_size, device)
        if names and embeds:
            raise BadRequest("A network whose output is an embedding has no classes to name.")
        _check_count(names, count)
        normalise = normalisation(recipe.mean, recipe.std, device)
        return cls(
            id=CUSTOM,
            title="Your network",
            family=CUSTOM,
            network=replace(network, normalise=normalise),
            recipe=recipe,
            device=device,
            fingerprint=_digest([structure, recipe.mean, recipe.std], tensors) if structure else uuid.uuid4().hex,
            class_names=names,
            nbytes=sum(tensor.nbytes for tensor in tensors),
        )

    @classmethod
    def from_transformers(
        cls,
        net: nn.Module,
        processor: Any = None,
        class_names: Sequence[str] | None = None,
        recipe: Recipe | None = None,
        cuts: Sequence[str] | None = None,
    ) -> "ExplainableModel":
        """Wrap an image classifier of Hugging Face's transformers as it stands now (ViT, Swin, ConvNeXt, DINOv2, ...).

        net          any ...ForImageClassification: pixel_values (n,3,H,W) -> an output with logits (n,K)
        processor    its image processor: size, crop, interpolation, mean and spread; None: the side in the network's
                     configuration, ImageNet's mean and spread
        class_names  None: those in the configuration (id2label)
        recipe       instead of the processor's
        cuts         None: behind each layer, and what comes before and after them, where the output carries everything

        The logits equal those of transformers. Raises BadRequest with what is wrong.
        """
        from xai_core.models import transformers_networks

        wrapped = transformers_networks.checked(net)
        names = class_names if class_names is not None else transformers_networks.class_names(net)
        recipe = recipe or transformers_networks.recipe(net, processor)
        behind = cuts if cuts is not None else transformers_networks.cuts(wrapped, recipe.input_size)
        model = cls.from_module(wrapped, names, recipe, [f"{transformers_networks.INSIDE}{path}" for path in behind])
        network, tensors = transformers_networks.renamed(model.network), [*net.parameters(), *net.buffers()]
        structure = [type(net).__name__, transformers_networks.settings_of(net), behind, recipe.mean, recipe.std]
        return replace(model, network=network, fingerprint=_digest(structure, tensors))

    @property
    def cuts(self) -> tuple[str, ...]:
        """The names of the stages behind which the network can be cut, from the picture to the output."""
        return self.network.cuts

    @property
    def has_classifier(self) -> bool:
        return self.network.classifies

    def in_normalised_space(self) -> "ExplainableModel":
        """The same model without its normalisation, for tensors that are already normalised (published numbers)."""
        network = self.network.without_normalisation()
        return replace(self, network=network, fingerprint=f"{self.fingerprint} normalised")

    def prepare(self, image: Picture) -> Prepared:
        """The picture as this network sees it; a float tensor (3, H, W) in [0, 1] is used as it is."""
        return prepare(image, self.recipe, in_range=self.network.normalises)

    def outputs(self, images: Tensor) -> Outputs:
        """(n, 3, H, W) in [0, 1] -> Outputs, without a graph, in float32."""
        with torch.no_grad(), runtime.autocast("exact", self.device):
            return self.network.outputs(images.to(self.device))

    def embed(self, image: Picture) -> Tensor:
        """The embedding (1, E) of one picture: what SimilarityTo takes as a reference."""
        return self.outputs(stack([self.prepare(image)], self.device)).embedding

    def top_k(self, image: Picture, k: int = 5) -> list[Prediction]:
        """The k most probable classes of one picture, most probable first. Raises NoClassifier."""
        logits = self.outputs(stack([self.prepare(image)], self.device)).logits[0]
        return self.predictions(logits, k)

    def predictions(self, logits: Tensor, k: int) -> list[Prediction]:
        """The k most probable classes of one picture's logits (K,); of equal logits the lowest index comes first."""
        probabilities = logits.float().softmax(0).tolist()
        return [Prediction(index, self.class_name(index), probabilities[index]) for index in top_classes(logits, k).tolist()]

    def class_name(self, index: int) -> str:
        return self._classes.class_name(index)

    def class_index(self, given: int | str) -> int:
        """A class by its index, name, synonym or WordNet id (`ClassNames.class_index`). Raises UnknownName, BadRequest,
        NoClassifier."""
        if not self.has_classifier:
            raise NoClassifier(f"{self.title} has no classifier, so it cannot be asked about '{given}'.")
        return self._classes.class_index(given)

    def classes_called(self, name: str) -> list[int]:
        """The classes that are called so (`ClassNames.classes_called`)."""
        return self._classes.classes_called(name)

    @cached_property
    def _classes(self) -> ClassNames:
        return ClassNames(self.class_names, self.wnids)


def _class_names(given: Sequence[str] | None) -> tuple[str, ...]:
    """Names of classes as they were given; none for None. Raises BadRequest where they are no texts."""
    if isinstance(given, str):
        raise BadRequest("Give class_names as a list of names; this is one text.")
    names = () if given is None else tuple(given)
    for name in names:
        if not isinstance(name, str):
            raise BadRequest(
                f"Class names must be texts; {name!r} is of type {type(name).__name__}. Write str(name) for each."
            )
    return names


def _check_count(names: tuple[str, ...], count: int) -> None:
    """Raises BadRequest where classes are named, but not so many."""
    if names and len(names) != count:
        raise BadRequest(
            f"The network has {count:,} classes, but {len(names):,} class names are given. Give one for each class, in the "
            "order of the logits, or none."
        )


def _per_channel(name: str, values: Sequence[float] | None) -> tuple[float, float, float] | None:
    if values is None:
        return None
    if len(values) != 3:
        raise BadRequest(f"Give {name} as three numbers, for red, green and blue; these are {len(values)}.")
    return values[0], values[1], values[2]


def _digest(structure: object, tensors: Sequence[Tensor]) -> str:
    """A name for these parameters in this structure (what the parts print as)."""
    digests = [array_digest(tensor.detach().float().cpu().numpy()) for tensor in tensors]
    return bytes_digest("".join([repr(structure), *digests]).encode())
