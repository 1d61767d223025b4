"""Making files of texts with the text tower of open_clip, which is the extra `prompts` of this package."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from xai_core.core.errors import BadRequest, WeightsUnavailable
from xai_core.core.runtime import Track
from xai_core.core.version import __version__
from xai_core.models.prompt_list import MOST, PromptList

TEMPLATES = ("a photo of a {}.",)
CONTROLS = 8  # texts without a meaning
BATCH = 256
LONGEST = 500  # letters of a text
SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]

Tokenize = Callable[[list[str]], Tensor]


def nonsense(count: int, seed: int) -> tuple[str, ...]:
    """Words that mean nothing, of three syllables each, drawn from the seed; no two are alike."""
    draw = np.random.default_rng(seed)
    words: dict[str, None] = {}
    while len(words) < count:
        words["".join(draw.choice(SYLLABLES, 3))] = None
    return tuple(words)


def encoded(
    model: Any,
    tokenize: Tokenize,
    names: Sequence[str],
    templates: Sequence[str] = TEMPLATES,
    *,
    tower: str,
    seed: int = 0,
    track: Track = iter,
) -> tuple[PromptList, Tensor, Tensor]:
    """The texts and their vectors, (K, E) and (C, E), of length 1.

    Each name is put into each template; the vectors of its sentences are made of length 1, averaged, and made of length 1
    again, as Radford et al. 2021 do. `model` is one of open_clip, `tokenize` its tokenizer, `tower` says which in words.
    Raises BadRequest where a name or template cannot be used.
    """
    names, templates = [" ".join(name.split()) for name in names], [" ".join(text.split()) for text in templates]
    _check(names, templates)
    controls = nonsense(CONTROLS, seed)
    texts = [template.replace("{}", name) for name in (*names, *controls) for template in templates]
    parts = []
    with torch.no_grad():
        for start in track(list(range(0, len(texts), BATCH))):
            parts.append(functional.normalize(model.encode_text(tokenize(texts[start : start + BATCH])).float(), dim=-1))
        scale, bias = model.logit_scale.exp().item(), getattr(model, "logit_bias", None)
    means = torch.cat(parts).unflatten(0, (-1, len(templates))).mean(1)
    vectors = functional.normalize(means, dim=-1)
    about = PromptList(
        names=tuple(names),
        controls=controls,
        scale=scale,
        bias=0.0 if bias is None else bias.item(),
        tower=f"{tower}, xai-core {__version__}",
        templates=tuple(templates),
        seed=seed,
        width=vectors.shape[1],
    )
    return about, vectors[: len(names)], vectors[len(names) :]


def _check(names: Sequence[str], templates: Sequence[str]) -> None:
    if not 2 <= len(names) <= MOST:
        raise BadRequest(f"Give 2 to {MOST:,} texts; these are {len(names):,}. A picture is compared with all of them.")
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise BadRequest(f"'{twice[0]}' is there twice.")
    if not all(names) or max(map(len, names)) > LONGEST:
        raise BadRequest(f"A text is empty, or longer than {LONGEST} letters.")
    wrong = [template for template in templates if "{}" not in template]
    if wrong or not templates:
        raise BadRequest(f"A template needs {{}} where the text goes; '{wrong[0] if wrong else ''}' has none.")


def text_tower(architecture: str, weights: str) -> tuple[Any, Tokenize, str]:
    """A model of open_clip, its tokenizer, and which it is in words. `weights` is a tag of open_clip's, whose file is
    fetched where it is missing, or a file. Raises BadRequest where open_clip or the name is missing, WeightsUnavailable
    where the weights cannot be had."""
    try:
        import open_clip
    except ImportError as error:
        raise BadRequest("Text towers are open_clip's: pip install 'xai-core[prompts]'.") from error
    if architecture not in open_clip.list_models():
        near = [name for name in open_clip.list_models() if name.lower().startswith(architecture.lower()[:5])]
        raise BadRequest(
            f"open_clip has no model '{architecture}'; it has {', '.join(near[:8] or ['ViT-B-16', 'ViT-B-32'])}."
        )
    try:
        model = open_clip.create_model(architecture, pretrained=weights, require_pretrained=True)
        return (
            model.eval(),
            open_clip.get_tokenizer(architecture),
            f"{architecture} {weights} of open_clip {open_clip.__version__}",
        )
    except (OSError, RuntimeError, ValueError) as error:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsUnavailable(
            f"The text tower {architecture} with the weights '{weights}' cannot be had: {first[:200]}. Its weights: {tags}; "
            "or give a file."
        ) from error
