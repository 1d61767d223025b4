"""The map of embeddings on the page Misclassifications: its figures from raw rows, and that nothing is computed twice."""

import json
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from opened_pages import ROOT, chart_rows, opened, pick_mark, text, with_state
from streamlit.proto.WidgetStates_pb2 import WidgetState

from xai_core.analysis import embedding_maps as maps
from xai_core.app.charts.embedding_map import COLOURS, OTHERS, OUTSIDE, embedding_map
from xai_core.app.misclassifications import embedding_map_view
from xai_core.app.shared import cache
from xai_core.app.shared import embedding_maps as shared
from xai_core.data.datasets import open_dataset
from xai_core.data.predictions import read_predictions
from xai_core.failures.error_groups import groups
from xai_core.models.zoo.catalog import cards

PAGE = "pages/6_Misclassifications.py"


def placed():
    """The shipped predictions with their places on the map, computed again."""
    (file,) = (ROOT / "data" / "predictions").glob("world_planted*.parquet")
    rows = read_predictions(file)
    found = maps.embedding_map(np.stack(rows["embedding"].to_list()))
    return rows.assign(x=found.points[:, 0], y=found.points[:, 1]), found


def test_points_and_shares_are_those_of_the_embeddings():
    app = opened(PAGE, view="Map", **{"map colour": "(class)"})
    rows, found = placed()
    drawn = chart_rows(app, {"x", "y", "colour"}).set_index("path").loc[rows["path"]]
    assert drawn[["x", "y"]].to_numpy() == pytest.approx(rows[["x", "y"]].to_numpy(), abs=1e-4)
    assert drawn["colour"].tolist() == rows["true"].tolist()
    assert ((drawn["answer"] == "wrong").to_numpy() == (rows["true"] != rows["predicted"]).to_numpy()).all()
    assert f"axis across holds {found.shares[0]:.0%} and the axis up {found.shares[1]:.0%}" in text(app)
    assert "map is of all 1,000 pictures; the 1,000 that pass" in text(app)


def dragged(app, across, up):
    """The page after a box was drawn on the map."""
    id = next(element.proto.id for element in app.get("vega_lite_chart") if (element.key or "").startswith("embedding map"))
    box = json.dumps({"selection": {"box": {"x": across, "y": up}}})
    return with_state(app, WidgetState(id=id, string_value=box))


def test_a_box_opens_its_pictures_and_counts_them():
    rows, _ = placed()
    app = dragged(opened(PAGE, view="Map"), [0.1, -0.204], [-0.05, 0.296])
    assert app.slider(key="map across").value == (-0.21, 0.1) and app.slider(key="map up").value == (-0.05, 0.3)
    inside = rows[rows["x"].between(-0.21, 0.1) & rows["y"].between(-0.05, 0.3)]
    wrong = inside["true"] != inside["predicted"]
    words = text(app)
    edges = chart_rows(app, {"x", "x2"}).iloc[0]
    assert edges[["x", "x2", "y", "y2"]].tolist() == pytest.approx([-0.21, 0.1, -0.05, 0.3])
    assert f"**{len(inside):,} pictures** of 1,000 chosen: **{wrong.sum()} wrong** ({wrong.mean():.0%}; of all" in words
    assert f"Chosen on the map: errors first: **1** of {len(inside)}" in words
    assert app.query_params["sample"] == inside[wrong]["path"].iloc[0]
    most = inside["true"].value_counts()
    assert f"label: {most.index[0]} ({most.iloc[0] / len(inside):.0%})" in words
    labels = [button.label for button in app.button]
    assert f"Review these {len(inside):,} pictures" in labels
    next(button for button in app.button if button.label == "Choose the whole map").click().run()
    assert app.slider(key="map across").value == app.slider(key="map up").value == (-1, 1)


def test_a_click_on_a_point_opens_its_picture():
    path = placed()[0]["path"].iloc[5]
    app = pick_mark(opened(PAGE, view="Map"), "embedding map", "picture", path=path)
    assert app.query_params["sample"] == path and "Pictures on the map: **6** of 1,000" in text(app)


def test_a_part_without_a_picture_says_so():
    app = opened(PAGE, view="Map", **{"map across": ["-1", "-0.99"], "map up": ["0.99", "1"]})
    assert any("No picture is in this part" in box.value for box in app.info)


def test_no_projection_is_computed_twice():
    """By any visitor, with any colour, filter or part; a map of another kind is one of its own."""
    cache.clear()
    with patch.object(shared, "embedding_map", wraps=maps.embedding_map) as computed:
        app = opened(PAGE, view="Map")
        app.selectbox(key="map colour").set_value("background").run()
        app.segmented_control(key="which").set_value("Wrong").run()
        app.slider(key="map across").set_value((0.0, 0.5)).run()
        opened(PAGE, view="Map", model=cards()["world_planted"].title)
        assert [call.args[1:] for call in computed.call_args_list] == [("pca", shared.SEED)]
        with patch.object(shared, "A_SECOND", {"pca": 1e9, "tsne": 1e9}):
            app.segmented_control(key="projection").set_value("t-SNE").run()
            app.segmented_control(key="projection").set_value("PCA").run()
            app.segmented_control(key="projection").set_value("t-SNE").run()
        assert [call.args[1] for call in computed.call_args_list] == ["pca", "tsne"]
        assert "t-SNE keeps neighbours together (perplexity 30, seed 0)" in text(app)
        opened(PAGE, view="Map", model=cards()["world_clean"].title)  # another model has other embeddings
        assert [call.args[1] for call in computed.call_args_list] == ["pca", "tsne", "pca"]
        assert app.slider(key="map across").value == (-1, 1), "the part was of the other map"


def test_colours_are_of_attributes_and_of_confirmed_groups():
    rows, _ = placed()
    known = open_dataset("world:planted").metadata.loc[rows["path"]]
    app = opened(PAGE, view="Map", **{"map colour": "size"})
    drawn = chart_rows(app, {"x", "y", "colour"}).set_index("path").loc[rows["path"]]
    assert drawn["colour"].to_numpy() == pytest.approx(known["size"].to_numpy())
    app.selectbox(key="map colour").set_value("occluded").run()
    drawn = chart_rows(app, {"x", "y", "colour"}).set_index("path").loc[rows["path"]]
    assert ((drawn["colour"] == "yes").to_numpy() == known["occluded"].to_numpy(bool)).all()
    app.selectbox(key="map colour").set_value(embedding_map_view.GROUP).run()
    drawn = chart_rows(app, {"x", "y", "colour"}).set_index("path").loc[rows["path"]]
    tested = groups(rows, known.reset_index(drop=True), np.stack(rows["embedding"].to_list()))
    confirmed = [members for members, ok in zip(tested.members, tested.table["confirmed"], strict=True) if ok]
    assert confirmed and (drawn["colour"] != OUTSIDE).sum() == len(np.unique(np.concatenate(confirmed)))
    first = drawn["colour"].iloc[confirmed[0]]
    assert (first == tested.table["group"].iloc[0]).all() or OTHERS in set(first)


@pytest.mark.parametrize(("fewest", "most"), [(5, 999), (1_001, 5_000)])
def test_too_few_or_too_many_pictures_for_t_sne_are_a_sentence(monkeypatch, fewest, most):
    monkeypatch.setattr(maps, "FEWEST", fewest)
    monkeypatch.setattr(maps, "MOST", most)
    app = opened(PAGE, view="Map", projection="t-SNE")
    assert any("and there are 1,000. Choose PCA" in box.value for box in app.info)


def table(colours):
    count = len(colours)
    return pd.DataFrame(
        {"x": np.linspace(-1, 1, count), "y": 0.0, "path": [f"{place}.png" for place in range(count)], "true": "a",
         "predicted": "b", "confidence": 0.5, "answer": "wrong", "colour": colours}
    )  # fmt: skip


LIMITS = (-1.0, 1.0), (-1.0, 1.0)


def test_the_map_is_a_chart_with_two_selections():
    spec = embedding_map(table(["a", "b", "right"]), "class", LIMITS, ((0.0, 0.5), (-0.5, 0.5))).to_dict()
    assert {one["name"] for one in spec["params"]} == {"box", "picture"} and len(spec["layer"]) == 2
    numbers = embedding_map(table([0.5, np.nan]), "size", LIMITS).to_dict()
    assert numbers["layer"][0]["encoding"]["color"]["condition"]["type"] == "quantitative"


def test_the_rarest_of_many_classes_share_a_colour():
    names = [f"class {number:02}" for number in range(14) for _ in range(20 - number)]
    spec = embedding_map(table(names), "class", LIMITS).to_dict()
    scale = spec["layer"][0]["encoding"]["color"]["scale"]
    assert scale["domain"] == [*sorted(set(names))[: len(COLOURS) - 1], OTHERS] and len(set(scale["range"])) == len(COLOURS)
