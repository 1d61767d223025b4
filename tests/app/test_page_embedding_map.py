"""The map of embeddings on the page Misclassifications: its figures from raw rows, and that nothing is computed twice."""

import json
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from opened_pages import ROOT, button, opened, press_row, send_event, text

from xai_core.analysis import embedding_maps as maps
from xai_core.app.charts import common
from xai_core.app.charts.groups import map_of_points
from xai_core.app.misclassifications import embedding_map_view, map_axes, point_map
from xai_core.app.misclassifications.point_map import COLOURS, OTHERS, OUTSIDE
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


@pytest.fixture(autouse=True)
def contents(monkeypatch):
    """What the page has given the component, the last at the end."""
    given = []

    def content(*args):
        given.append(args)
        return CONTENT(*args)

    monkeypatch.setattr(point_map, "content", content)
    return given


CONTENT = point_map.content


def drawn(contents):
    """The points that the component draws, in the order of the shipped predictions."""
    points = json.loads(CONTENT(*contents[-1]))
    table = pd.DataFrame({name: points[name] for name in ("path", "x", "y", "wrong", "value", "true", "confidence")})
    return table.set_index("path").loc[placed()[0]["path"]]


def written(*outlines):
    return "~".join("_".join(str(round(number * point_map.UNIT)) for number in np.ravel(outline)) for outline in outlines)


def crossed(x, y, outline):
    """Whether a ray to the right of a point crosses a polygon an odd number of times."""
    count = 0
    for (ax, ay), (bx, by) in zip(outline, [*outline[1:], outline[0]], strict=True):
        if (ay > y) != (by > y) and x < ax + (y - ay) * (bx - ax) / (by - ay):
            count += 1
    return count % 2 == 1


STAR = [(-0.42, 0.1), (0.4, 0.12), (-0.3, -0.3), (0.02, 0.5), (0.2, -0.31)]  # it crosses itself
FAR = [(0.6, -0.2), (1.01, -0.2), (1.01, 0.3), (0.6, 0.3)]


def test_points_and_shares_are_those_of_the_embeddings(contents):
    app = opened(PAGE, view="Map", **{"map colour": "(class)"})
    rows, found = placed()
    table = drawn(contents)
    assert table[["x", "y"]].to_numpy() == pytest.approx(rows[["x", "y"]].to_numpy(), abs=1e-4)
    assert table["value"].tolist() == rows["true"].tolist()
    assert ((table["wrong"] == 1).to_numpy() == (rows["true"] != rows["predicted"]).to_numpy()).all()
    assert f"axis across holds {found.shares[0]:.0%} and the axis up {found.shares[1]:.0%}" in text(app)
    assert "map is of all 1,000 pictures; the 1,000 that pass" in text(app)


@pytest.mark.parametrize("outlines", [[STAR], [STAR, FAR]])
def test_outlines_choose_the_pictures_inside_them_and_count_them(outlines):
    rows, _ = placed()
    app = opened(PAGE, view="Map")
    send_event(app, "point_map", "chosen", {"outlines": written(*outlines), "number": 1})
    assert app.query_params["chosen"] in (written(*outlines), [written(*outlines)])
    within = [any(crossed(x, y, outline) for outline in outlines) for x, y in zip(rows["x"], rows["y"], strict=True)]
    chosen = rows[within]
    wrong = chosen["true"] != chosen["predicted"]
    assert 20 < len(chosen) < 900 and 0 < wrong.sum() < len(chosen)
    words, most = text(app), chosen["true"].value_counts()
    assert f"**{len(chosen):,} pictures** of 1,000 chosen: **{wrong.sum()} wrong** ({wrong.mean():.0%}; of all" in words
    assert f"label: {most.index[0]} ({most.iloc[0] / len(chosen):.0%})" in words
    assert button(app, "round of map").label == f"Review these {len(chosen)} pictures"
    tiles = [one.key.removeprefix("open ") for one in app.button if (one.key or "").startswith("open ") and one.help]
    assert (
        tiles
        == chosen.sort_values("path", key=lambda _: ~wrong, kind="stable")["path"].head(embedding_map_view.FIRST).tolist()
    )
    button(app, "open chosen").click().run()
    assert f"Chosen on the map: errors first: **1** of {len(chosen)}" in text(app)
    assert app.query_params["sample"] in (tiles[0], [tiles[0]])


def test_chosen_pictures_are_selected_tagged_and_leave_the_choice_as_filters_say():
    rows, _ = placed()
    app = opened(PAGE, view="Map", chosen=written(FAR))
    inside = rows[[crossed(x, y, FAR) for x, y in zip(rows["x"], rows["y"], strict=True)]]
    assert button(app, "select all").label == f"Select the {len(inside)} chosen"
    button(app, "select all").click().run()
    assert f"**{len(inside)} pictures selected**" in text(app)
    assert sorted(app.session_state["selected pictures"][1]) == sorted(inside["path"])
    assert button(app, "round of selected").label == f"Review these {len(inside)} pictures"
    button(app, "clear selection").click().run()
    app.segmented_control(key="which").set_value("Right").run()
    right = inside[inside["true"] == inside["predicted"]]
    assert f"**{len(right)} pictures** of {len(rows[rows['true'] == rows['predicted']]):,} chosen: **0 wrong**" in text(app)
    send_event(app, "point_map", "chosen", {"outlines": "", "number": 1})
    assert "chosen" not in app.query_params and "Nothing is chosen" in text(app)


def test_a_click_on_a_point_opens_its_picture():
    path = placed()[0]["path"].iloc[5]
    app = send_event(opened(PAGE, view="Map"), "point_map", "opened", path)
    assert app.query_params["sample"] in (path, [path]) and "Pictures on the map: **6** of 1,000" in text(app)
    app = send_event(opened(PAGE, view="Map"), "point_map", "opened", "no such picture")
    assert "sample" not in app.query_params


def test_a_tooltip_gets_its_small_picture():
    path, app = placed()[0]["path"].iloc[5], opened(PAGE, view="Map")
    assert component(app)["pictures"] == {}
    assert [*component(send_event(app, "point_map", "asked", path))["pictures"]] == [path]
    assert component(send_event(app, "point_map", "asked", "../secret"))["pictures"] == {}


def component(app):
    """What the page sends to the map."""
    (proto,) = (one.proto for one in app.get("bidi_component") if one.proto.component_name.endswith("point_map"))
    return json.loads(proto.json)


def test_outlines_without_a_picture_say_so():
    app = opened(PAGE, view="Map", chosen=written([(-1, 0.99), (-0.99, 0.99), (-1, 1)]))
    assert any("No picture is inside" in box.value for box in app.info)


@pytest.mark.parametrize(
    "bad",
    ["1", "1_2", "1_2_3_4", "a_b_c_d_e_f", "~", "1_2_3_4_5", "9" * 400, "_".join(["1"] * 2 * 241), "0_0_1_1_9999999_1"],
)
def test_an_address_without_outlines_chooses_nothing(bad):
    assert point_map.read(bad) == []


def test_inside_is_the_odd_number_of_crossings():
    draws = np.random.default_rng(0)
    points = draws.uniform(-1, 1, (400, 2))
    outlines = [draws.uniform(-1, 1, (count, 2)) for count in (3, 4, 9)]
    wanted = [any(crossed(x, y, outline.tolist()) for outline in outlines) for x, y in points]
    assert maps.inside(points, outlines).tolist() == wanted and 20 < sum(wanted) < 380
    assert not maps.inside(points, []).any()


def test_the_map_is_also_a_table():
    rows, _ = placed()
    app = opened(PAGE, view="Map", **{"map table": "true", "chosen": written(FAR), "map colour": "background"})
    table = next(one.value for one in app.dataframe if "across" in one.value)
    inside = rows[[crossed(x, y, FAR) for x, y in zip(rows["x"], rows["y"], strict=True)]]
    assert table["path"].tolist() == inside.sort_values(["x", "y"])["path"].tolist()
    known = open_dataset("world:planted").metadata.loc[table["path"], "background"]
    assert table["background"].tolist() == known.tolist()
    app = press_row(app, "map rows", 2)
    assert app.query_params["sample"] in (table["path"][2], [table["path"][2]])


def test_two_columns_place_pictures():
    """Numbers by their value on the whole dataset, names in a column each; what has no value is left out and counted."""
    rows, _ = placed()
    dataset = open_dataset("world:planted")
    rows, known = rows.assign(margin=0.5), dataset.metadata.loc[rows["path"]]
    found = map_axes.places(rows, dataset, ("size", "background"))
    (x, y), (across, up) = found.points.T, found.axes
    assert across.low + (x + 1) / 2 * (across.high - across.low) == pytest.approx(known["size"].to_numpy(float))
    nearest = np.array([name for _, name in up.ticks])[np.abs(y[:, None] - np.array([at for at, _ in up.ticks])).argmin(1)]
    assert nearest.tolist() == known["background"].tolist()
    assert (found.points == map_axes.places(rows, dataset, ("size", "background")).points).all()
    gaps = dataset.metadata["size"].mask(dataset.metadata["size"] > dataset.metadata["size"].median())
    lacking = replace(dataset, metadata=dataset.metadata.assign(size=gaps))
    found = map_axes.places(rows, lacking, ("size", map_axes.CONFIDENCE))
    missing = int(np.isnan(found.points[:, 0]).sum())
    assert missing == gaps.isna().sum() > 0 and f"{missing:,} pictures without a value are not on the map" in found.words


def test_the_first_axes_are_an_attribute_that_is_no_truth_and_the_confidence():
    app = opened(PAGE, view="Map", projection="Two columns")
    dataset, across = open_dataset("world:planted"), app.selectbox(key="map across").value
    assert across in dataset.metadata and across not in dataset.truth and app.selectbox(key="map up").value == "(confidence)"


def test_columns_of_the_metadata_are_axes_of_the_page(contents):
    app = opened(PAGE, view="Map", projection="Two columns", **{"map across": "size", "map up": "background"})
    shown, label = drawn(contents), json.loads(CONTENT(*contents[-1]))
    assert len(shown) == 1_000 and [axis["title"] for axis in label["axes"]] == ["size", "background"]
    assert "Across: size; up: background." in text(app)
    app.query_params["chosen"] = written(FAR)
    app.selectbox(key="map across").set_value("(margin)").run()
    assert "chosen" not in app.query_params, "the outline was of the other axes"


def test_no_projection_is_computed_twice():
    """By any visitor, with any colour, filter or part; a map of another kind is one of its own."""
    cache.clear()
    with patch.object(shared, "embedding_map", wraps=maps.embedding_map) as computed:
        app = opened(PAGE, view="Map")
        app.selectbox(key="map colour").set_value("background").run()
        app.segmented_control(key="which").set_value("Wrong").run()
        send_event(app, "point_map", "chosen", {"outlines": written(STAR), "number": 1})
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
        assert "chosen" not in app.query_params, "the outline was of the other map"


def test_colours_are_of_attributes_and_of_confirmed_groups(contents):
    rows, _ = placed()
    known = open_dataset("world:planted").attributes(rows["path"])
    app = opened(PAGE, view="Map", **{"map colour": "size"})
    assert drawn(contents)["value"].astype(float).to_numpy() == pytest.approx(known["size"].to_numpy(), rel=1e-3)
    app.selectbox(key="map colour").set_value("occluded").run()
    assert ((drawn(contents)["value"] == "yes").to_numpy() == known["occluded"].to_numpy(bool)).all()
    app.selectbox(key="map colour").set_value(embedding_map_view.GROUP).run()
    values = drawn(contents)["value"]
    tested = groups(rows, known.reset_index(drop=True), np.stack(rows["embedding"].to_list()))
    confirmed = [members for members, ok in zip(tested.members, tested.table["confirmed"], strict=True) if ok]
    assert confirmed and (values != OUTSIDE).sum() == len(np.unique(np.concatenate(confirmed)))
    first = values.iloc[confirmed[0]]
    assert (first == tested.table["group"].iloc[0]).all()


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


def content_of(colours):
    return json.loads(CONTENT(table(colours), "class", LIMITS, "a map"))


def test_each_value_has_its_colour():
    points = content_of(["a", "b", "right", OUTSIDE])
    assert points["texts"] == ["a", "b", "right", OUTSIDE] and len(set(points["colours"])) == 4
    assert [points["texts"][place] for place in points["colour"]] == ["a", "b", "right", OUTSIDE]


def test_numbers_lie_on_a_scale_and_what_is_not_known_has_no_colour():
    points = content_of([0.5, np.nan, 2.5, 1.5])
    assert points["ends"] == ["0.5", "2.5"] and points["value"] == ["0.5", None, "2.5", "1.5"]
    assert points["colour"] == [0, -1, 32, 16] and len(points["colours"]) == 33
    assert content_of([np.nan])["colour"] == [-1]


def test_the_map_in_a_document_has_the_points_and_colours_of_the_page():
    names, numbers = content_of(["b", "a", "b"]), content_of([0.5, np.nan, 1.0])
    for content in (names, numbers):
        chart = map_of_points(content).to_dict()
        rows = next(iter(chart["datasets"].values()))
        assert [(row["x"], row["y"]) for row in rows] == [*zip(content["x"], content["y"], strict=True)]
        assert [row["answer"] == "wrong" for row in rows] == [*map(bool, content["wrong"])]
        encoding = chart["encoding"]
        assert [encoding[axis]["scale"]["domain"] for axis in "xy"] == [*map(list, content["limits"])]
        assert common.chart_bytes(map_of_points(content), "png").startswith(b"\x89PNG")
    colour = map_of_points(names).to_dict()["encoding"]["color"]
    shown = [row["shown"] for row in next(iter(map_of_points(names).to_dict()["datasets"].values()))]
    assert shown == names["value"] and colour["scale"] == {"domain": names["texts"], "range": names["colours"]}
    assert [row["shown"] for row in next(iter(map_of_points(numbers).to_dict()["datasets"].values()))].count(None) == 1


def test_the_rarest_of_many_classes_share_a_colour():
    names = [f"class {number:02}" for number in range(14) for _ in range(20 - number)]
    points = content_of(names)
    assert points["texts"] == [*sorted(set(names))[: len(COLOURS) - 1], OTHERS] and len(set(points["colours"])) == len(
        COLOURS
    )


def test_wrong_pictures_are_drawn_last():
    rows = table(["a"] * 3).assign(answer=["wrong", "right", "wrong"])
    points = json.loads(CONTENT(rows, "class", LIMITS, "a map"))
    assert points["path"] == ["1.png", "0.png", "2.png"] and points["wrong"] == [0, 1, 1]
