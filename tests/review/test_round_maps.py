"""The maps of a round: those of `explain`, stored as a whole for each picture, computed once."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_rounds import made_round
from sqlalchemy import Engine

from xai_core.attribution.explain import explain
from xai_core.core.errors import BadRequest
from xai_core.data.datasets import USUAL_WORLD, Dataset, open_dataset
from xai_core.explanation import rendering
from xai_core.models.explainable import ExplainableModel
from xai_core.models.loading import load_model
from xai_core.review import round_maps, rounds
from xai_core.review.rounds import Item, Round


@pytest.fixture
def url(tmp_path: Path) -> str:
    """One kind of database is enough here."""
    return f"sqlite:///{tmp_path}/review.sqlite"


@pytest.fixture(scope="module")
def model() -> ExplainableModel:
    return load_model("world_planted")


@pytest.fixture(scope="module")
def world() -> Dataset:
    return open_dataset(USUAL_WORLD)


def round_of(engine: Engine, model: ExplainableModel, pictures: int = 3, **settings) -> Round:
    usual = {"model": model.id, "fingerprint": model.fingerprint, "method": "hires_cam", "options": {"relu": False}}
    return made_round(engine, pictures, **usual | {"cut": model.network.cut_name(None), "seed": 3} | settings)


def pixels(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), np.float32)


def explained(item: Item, round: Round, world: Dataset, model: ExplainableModel, target: str, rival: str | None = None):
    settings = round.settings
    return explain(
        model, world.open(item.name), settings.method, target=target, rival=rival, cut=settings.cut or None,
        precision=settings.precision, seed=settings.seed, **settings.options,
    )  # fmt: skip


@pytest.mark.parametrize("method", [{"method": "hires_cam"}, {"method": "saliency", "options": {}, "cut": ""}])
def test_three_maps_equal_those_of_explain(engine: Engine, model: ExplainableModel, world: Dataset, method) -> None:
    round = round_of(engine, model, 2, **method)
    assert round_maps.compute(engine, round, world, model) == {}
    for item in rounds.items(engine, round):
        predicted, true = (explained(item, round, world, model, name) for name in (item.predicted, item.true_class))
        margin = explained(item, round, world, model, item.predicted, item.true_class)
        shared = rendering.scale_of(predicted, true)
        expected = {"predicted": (predicted, shared), "true": (true, shared), "margin": (margin, rendering.scale_of(margin))}
        stored = rounds.maps(engine, round, item.position)
        assert list(stored) == list(expected)
        small = world.open(item.name)
        small.thumbnail((rounds.THUMBNAIL, rounds.THUMBNAIL), Image.Resampling.LANCZOS)
        for kind, (explanation, scale) in expected.items():
            drawn = rendering.overlay(explanation, small, scale)
            assert max(drawn.size) <= 384 and Image.open(io.BytesIO(stored[kind].picture)).format == "WEBP"
            assert np.abs(pixels(stored[kind].picture) - np.asarray(drawn, np.float32)).mean() < 8  # levels of 255: WebP
            assert stored[kind].picture == rendering.encoded(drawn, "WEBP")
            words = stored[kind].caption
            assert words.startswith(f"Target: {explanation.target} = {explanation.target_value:.4g}. Model: {model.id} ")
            assert scale.words in words and f"seed {round.settings.seed}" in words
            assert not explanation.cut or f"at {explanation.cut}" in words


def test_a_right_picture_has_one_map_for_both_classes_and_one_without_a_true_class_has_one_map(
    engine: Engine, model: ExplainableModel, world: Dataset
) -> None:
    round = round_of(engine, model, 1)
    item = rounds.items(engine, round)[0]
    right = round_maps.maps_of(item._replace(true_class=item.predicted), round.settings, world, model)
    assert right["predicted"] == right["true"] and set(right) == {"predicted", "true"}
    assert "this map's own scale" in right["true"].caption
    assert set(round_maps.maps_of(item._replace(true_class=None), round.settings, world, model)) == {"predicted"}


def test_an_interrupted_computation_goes_on_where_it_ended(engine: Engine, model: ExplainableModel, world: Dataset) -> None:
    round = round_of(engine, model, 4, repeats=0.5)
    places: list[int] = []

    def interrupted(items):
        for number, item in enumerate(items):
            if number == 2:
                raise InterruptedError
            yield item

    with pytest.raises(InterruptedError):
        round_maps.compute(engine, round, world, model, interrupted)
    assert rounds.positions_with_maps(engine, round) == {0, 1}
    before = rounds.maps(engine, round, 0)

    def noted(items):
        items = list(items)
        places.extend(item.position for item in items)
        return iter(items)

    assert round_maps.compute(engine, round, world, model, noted) == {}
    assert places == [2, 3]  # neither what is stored nor a repeat
    assert rounds.positions_with_maps(engine, round) == {0, 1, 2, 3} and rounds.maps(engine, round, 0) == before
    assert len(rounds.maps(engine, round, 5)) == 3  # a repeat has those of its original


def test_the_maps_of_a_picture_are_stored_together_or_not_at_all(
    engine: Engine, model: ExplainableModel, world: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    round, number, real = round_of(engine, model, 1), [], rounds.add_once

    def killed_at_the_second(*arguments) -> None:
        number.append(1)
        if len(number) == 2:
            raise RuntimeError
        real(*arguments)

    monkeypatch.setattr(rounds, "add_once", killed_at_the_second)
    with pytest.raises(RuntimeError):
        round_maps.compute(engine, round, world, model)
    assert rounds.positions_with_maps(engine, round) == set()


def test_pictures_that_were_changed_or_deleted_get_no_maps_and_are_named(
    engine: Engine, model: ExplainableModel, world: Dataset
) -> None:
    round = round_of(engine, model, 3)
    names = [item.name for item in rounds.items(engine, round)]

    def read(name: str) -> bytes | Path:
        if name == names[0]:
            raise FileNotFoundError("/somewhere/on/the/server")
        return world.read(names[2] if name == names[1] else name)

    without = round_maps.compute(engine, round, dataclasses.replace(world, read=read), model)
    assert list(without) == names[:2] and "/somewhere" not in str(without)
    assert without[names[1]] == "This file was changed after the round was made."
    assert rounds.positions_with_maps(engine, round) == {2}

    def gone(name: str) -> bytes:
        raise KeyError(name)

    with pytest.raises(BadRequest, match="No maps could be computed for the 2 pictures that lack them"):
        round_maps.compute(engine, round, dataclasses.replace(world, read=gone), model)
    assert rounds.positions_with_maps(engine, round) == {2}


def test_another_model_than_the_rounds_is_refused(engine: Engine, model: ExplainableModel, world: Dataset) -> None:
    round = round_of(engine, model, 1, fingerprint="other")
    with pytest.raises(BadRequest, match="with the weights of its predictions"):
        round_maps.compute(engine, round, world, model)
