"""The card of an image tower whose classes are texts: `weights/NAME.toml` beside the vectors, `NAME.safetensors`."""

from pathlib import Path

import tomli_w
from torch import Tensor

from xai_core.core.errors import BadRequest
from xai_core.core.files import read_regular, write_atomically
from xai_core.models import prompts
from xai_core.models.explainable import ExplainableModel
from xai_core.models.prompt_list import PromptList
from xai_core.models.zoo.catalog import check_new_name

LIST_BYTES = 2**22
WHOSE = "the model's"


def lines_of(file: Path) -> list[str]:
    """The texts in a file, one a line. Raises BadRequest."""
    try:
        lines = read_regular(file, LIST_BYTES).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"The list of texts {file} cannot be read.") from error
    return [line.strip() for line in lines if line.strip()]


def save(
    tower: ExplainableModel,
    base: str,
    weights: str | None,
    name: str,
    folder: Path,
    about: PromptList,
    vectors: Tensor,
    controls: Tensor,
) -> Path:
    """Write the texts and their card into a folder of weights; `load_model(name)` then loads the classifier. Returns the
    card. `base` is the id of the image `tower`. Raises BadRequest where they do not fit each other, or the name is taken."""
    check_new_name(name, folder, WHOSE)
    file, card = folder / f"{name}.safetensors", folder / f"{name}.toml"
    prompts.write(file, about, vectors, controls)
    try:
        prompts.with_texts(tower, file)
    except BadRequest:
        file.unlink(missing_ok=True)
        raise
    entries = {
        "base": base,
        "prompts": file.name,
        **({"weights": weights} if weights else {}),
        "remark": f"Texts by {about.tower}, in the sentences {_in_words(about.templates)}.",
    }
    write_atomically(card, tomli_w.dumps(entries).encode())
    return card


def _in_words(templates: tuple[str, ...]) -> str:
    shown = ", ".join(f"'{template}'" for template in templates[:3])
    return f"{shown} and {len(templates) - 3} more" if len(templates) > 3 else shown
