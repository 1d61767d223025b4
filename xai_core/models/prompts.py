"""Texts as vectors of the space that an image tower shares with its text tower (CLIP, SigLIP): a list of classes in words.

A file of them is made by the command `prompts` (`models.prompt_writer`), where the text tower is; it is read here, where
only the image tower is. It is a safetensors file: `vectors` (K, E) and `controls` (C, E), rows of length 1, with a
`PromptList` in its header. With it an image tower is a zero-shot classifier: logits = scale * cosine + bias (Radford et al.
2021, arXiv:2103.00020; with a bias Zhai et al. 2023, arXiv:2303.15343).
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional

from xai_core.core.cache_key import bytes_digest
from xai_core.core.errors import BadRequest
from xai_core.core.files import write_atomically
from xai_core.models.explainable import ExplainableModel
from xai_core.models.prompt_list import PromptList, described

LENGTH = 1e-3  # by which the length of a vector may differ from 1


class TextClassifier(nn.Module):
    """features (n, D) -> logits (n, K): `about.scale` times the cosine of the embedding with each text, plus `about.bias`.

    `project` leads from the features to the embedding (n, E); None where they are it. `controls` (C, E) are the vectors of
    the texts without a meaning, `about.controls`.
    """

    def __init__(
        self, about: PromptList, vectors: Tensor, controls: Tensor, project: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.about = about
        self.project = project
        self.register_buffer("vectors", vectors)
        self.register_buffer("controls", controls)

    def forward(self, features: Tensor) -> Tensor:
        embedding = self.project(features) if self.project else features
        cosines = functional.linear(functional.normalize(embedding, dim=-1), self.get_buffer("vectors"))
        return self.about.scale * cosines + self.about.bias


def read(path: Path) -> TextClassifier:
    """The texts in a file, for features that are the embedding. Raises BadRequest with what is wrong with the file."""
    about = described(path)
    try:
        tensors = safetensors.torch.load_file(path)
    except (OSError, SafetensorError) as error:
        raise BadRequest(f"{path.name} cannot be read as a file of texts: {error}.") from error
    vectors, controls = tensors["vectors"].float(), tensors["controls"].float()
    lengths = torch.cat([vectors, controls]).norm(dim=1)
    if not (lengths - 1).abs().max() <= LENGTH:  # NaN is refused, too
        raise BadRequest(f"{path.name} has vectors that are not of length 1: make the file anew by `prompts`.")
    return TextClassifier(about, vectors, controls)


def write(path: Path, about: PromptList, vectors: Tensor, controls: Tensor) -> None:
    """Write texts and their vectors, (K, E) and (C, E), as a whole."""
    tensors = {"vectors": vectors.float().contiguous(), "controls": controls.float().contiguous()}
    write_atomically(path, safetensors.torch.save(tensors, about.metadata()))


def with_texts(model: ExplainableModel, path: Path | str) -> ExplainableModel:
    """The image tower `model` as a zero-shot classifier of the texts in a file. Raises BadRequest where they do not fit."""
    path = Path(path)
    texts, network = read(path), model.network
    side = model.recipe.input_size
    width = model.outputs(torch.zeros(1, 3, side, side)).embedding.shape[1]
    about = texts.about
    if width != about.width:
        raise BadRequest(
            f"The texts of {path.name} have {about.width} numbers each and the embeddings of {model.title} have {width}: "
            f"they were made by another tower ({about.tower})."
        )
    texts.project = network.project
    texts.requires_grad_(False).to(model.device).eval()
    return replace(
        model,
        network=replace(network, classify=texts),
        class_names=about.names,
        wnids=(),
        fingerprint=f"{model.fingerprint} {bytes_digest(path.read_bytes())[:8]}",
        nbytes=model.nbytes + sum(buffer.nbytes for buffer in texts.buffers(recurse=False)),
    )


def texts_of(model: ExplainableModel) -> TextClassifier | None:
    """The texts that are the classes of a model; None where its classes are no texts."""
    if not model.network.is_built:  # it is known from a record, and has a classifier of its own
        return None
    classify = model.network.classify
    return classify if isinstance(classify, TextClassifier) else None
