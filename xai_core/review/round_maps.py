"""The maps of a round: computed once, stored with it, the same for everybody.

Each picture has a map of the predicted class, of the true class, and of the margin between them, with the round's method,
options, cut, precision and seed. The maps of the two classes have one scale, so that they can be compared.
"""

from PIL import Image
from sqlalchemy import Engine

from xai_core.attribution.explain import answer_active, request_for, with_method
from xai_core.core.cache_key import bytes_digest
from xai_core.core.errors import BadPicture, BadRequest, XaiError
from xai_core.core.runtime import Track
from xai_core.data.datasets import Dataset
from xai_core.data.image_io import open_picture
from xai_core.explanation import rendering
from xai_core.explanation.request import ActiveRequest
from xai_core.explanation.result import Explanation
from xai_core.explanation.targets import ClassLogit, ClassMargin, Target
from xai_core.models.explainable import ExplainableModel
from xai_core.review import rounds
from xai_core.review.rounds import THUMBNAIL, Item, Round, RoundSettings, StoredMap


def compute(
    engine: Engine, round: Round, dataset: Dataset, model: ExplainableModel, track: Track = iter, batches: Track = iter
) -> dict[str, str]:
    """Compute and store the maps that a round lacks; return the pictures that got none, with the reasons.

    The maps of each picture are stored as soon as they are there, so that the work can be interrupted and done again.
    `track` wraps the list of pictures, `batches` the inner batches of each. Raises BadRequest where the model is not the
    round's, and where no picture that lacks maps can be explained; StoreUnavailable, ReadOnly.
    """
    if (model.id, model.fingerprint) != (round.settings.model, round.settings.fingerprint):
        raise BadRequest(
            f"The maps of this round are made by {round.settings.model_title} with the weights of its predictions."
        )
    ready = rounds.positions_with_maps(engine, round)
    missing = [item for item in rounds.items(engine, round) if item.repeat_of is None and item.position not in ready]
    without: dict[str, str] = {}
    for item in track(missing):
        try:
            maps = maps_of(item, round.settings, dataset, model, batches)
        except (*rounds.UNREADABLE, XaiError) as error:
            without[item.name] = str(error) if isinstance(error, XaiError) else "This file is not in the dataset any more."
            continue
        rounds.add_maps(engine, round, item.position, maps)
    if missing and len(without) == len(missing):
        raise BadRequest(
            f"No maps could be computed for the {len(missing):,} pictures that lack them. The first reason: "
            f"{next(iter(without.values()))} The round can be voted on without maps."
        )
    return without


def maps_of(
    item: Item, settings: RoundSettings, dataset: Dataset, model: ExplainableModel, batches: Track = iter
) -> dict[str, StoredMap]:
    """The maps of one picture by their kinds (`rounds.MAP_KINDS`); all share one pass of the trunk.

    Where the predicted class is the true one, both have the same map, and there is none of a margin; where no class is the
    true one, there is the predicted one's alone. Raises BadPicture where the picture is another one than in the round, and
    XaiError.
    """
    data = rounds.content(dataset, item.name)
    if bytes_digest(data) != item.sha256:
        raise BadPicture("This file was changed after the round was made.")
    picture = open_picture(data)
    question = request_for(
        model, [picture], target=item.predicted, cut=settings.cut or None, precision=settings.precision, seed=settings.seed
    )
    request = with_method(question, settings.method, settings.options)
    active = request.activate()
    explanations: dict[str, Explanation] = {}
    for kind, target in _targets(item, model).items():
        same_picture = ActiveRequest(request, active.question.changed(target=target), active.images)
        ((_, explanations[kind]),) = answer_active(same_picture, request, batches)
    of_classes = rendering.scale_of(*(explanation for kind, explanation in explanations.items() if kind != "margin"))
    picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    maps = {}
    for kind, explanation in explanations.items():
        scale = rendering.scale_of(explanation) if kind == "margin" else of_classes
        overlay = rendering.overlay(explanation, picture, scale)
        maps[kind] = StoredMap(rendering.encoded(overlay, "WEBP"), rendering.caption(explanation, scale))
    return maps | {"true": maps["predicted"]} if item.true_class == item.predicted else maps


def _targets(item: Item, model: ExplainableModel) -> dict[str, Target]:
    """What each map asks; without the true class where it is the predicted one."""
    predicted = model.class_index(item.predicted)
    targets: dict[str, Target] = {"predicted": ClassLogit((predicted,))}
    if item.true_class is not None and item.true_class != item.predicted:
        true = model.class_index(item.true_class)
        targets |= {"true": ClassLogit((true,)), "margin": ClassMargin((predicted,), (true,))}
    return targets
