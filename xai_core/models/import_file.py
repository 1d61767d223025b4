"""Import weights by hand: check a file against the network it is for, then copy it into `weights/`, whole or not at all."""

import shutil
from pathlib import Path

from xai_core.core import settings
from xai_core.core.errors import BadCard, BadRequest, WeightsUnavailable
from xai_core.models import building
from xai_core.models.card import Card, Checkpoint, File
from xai_core.models.weights import checkpoints, locate
from xai_core.models.zoo import user_cards
from xai_core.models.zoo.catalog import CARDS, cards


def import_file(card: Card, checkpoint: Checkpoint, path: Path) -> Path:
    """Copy one file of a listed model's checkpoint into place. Returns where it is now.

    Raises BadRequest where it is not one of the checkpoint's, WeightsUnavailable where it does not fit the network
    exactly, is not the published file, or cannot be written.
    """
    file = _meant(checkpoint, path)
    module = building.empty(card)
    checkpoints.read_share(card, file, checkpoint.files, path, module, building.naming(card, module))
    digest = locate.digest_of(path)
    if not digest.startswith(file.sha256):
        raise WeightsUnavailable(f"{path} fits, but is not the published file, whose SHA-256 starts {file.sha256}.")
    target = settings.weights_folder() / file.name
    _copy(path, target)
    return target


def import_own(card: Path) -> str:
    """Copy a card of one's own, `NAME.toml`, and the files beside it that it names into place. Returns the model's id.

    Raises BadCard where the card cannot be used, BadRequest where a name is taken, WeightsUnavailable where the checkpoint
    does not fit the network exactly.
    """
    own = user_cards.card_at(card, CARDS)
    if isinstance(own, BadCard):
        raise own
    if own.base:
        raise BadRequest(f"A linear probe cannot be imported: train it with `{settings.PROGRAM} probe`.")
    (checkpoint,) = own.checkpoints
    files = [path for path in sorted(card.parent.iterdir()) if path != card]
    source = card.parent / checkpoint.files[0].name
    if source not in files:
        raise BadRequest(f"{card.name} names the file {source.name}, which is missing.")
    taken = [path.name for path in (*files, card) if (settings.weights_folder() / path.name).exists()]
    if taken or own.id in cards():
        raise BadRequest(
            f"A file or a model of this name exists already ({', '.join(taken) or own.id}): choose another name."
        )
    building.filled(own, checkpoint, [source])
    for path in (*files, card):  # the card last: with it the model is listed
        _copy(path, settings.weights_folder() / path.name)
    return own.id


def _meant(checkpoint: Checkpoint, path: Path) -> File:
    """Which of the checkpoint's files this is: the only one, or the one of its name."""
    files = {file.name: file for file in checkpoint.files if not file.package}
    if not path.is_file():
        raise BadRequest(f"There is no file {path}.")
    if not files:
        raise BadRequest("These weights come with the installation: nothing can be put in their place.")
    if len(files) > 1 and path.name not in files:
        raise BadRequest(f"These weights are several files, and {path.name} is not one of them: {', '.join(files)}.")
    return files.get(path.name, next(iter(files.values())))


def _copy(source: Path, target: Path) -> None:
    """A copy that is there whole or not at all."""
    part = target.with_name(f"{target.name}.import")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, part)
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise WeightsUnavailable(f"Cannot write {target}: {error.strerror or error}.") from error
