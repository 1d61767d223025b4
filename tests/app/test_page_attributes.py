"""What a dataset says of its pictures, in the views of Misclassifications: figures recomputed from raw rows."""

import re
from collections import Counter

import pytest
from opened_pages import ROOT, opened, press_row, text

from xai_core.app.shared import attribute_filters
from xai_core.data.datasets import Dataset, open_dataset
from xai_core.data.predictions import read_predictions

PAGE = "pages/6_Misclassifications.py"


@pytest.fixture(scope="module")
def rows():
    """The shipped predictions with the attributes of the planted world."""
    (file,) = (ROOT / "data" / "predictions").glob("world_planted*.parquet")
    table = read_predictions(file).drop(columns="embedding")
    known = open_dataset("world:planted").metadata.loc[table["path"]].reset_index(drop=True)
    return table.assign(wrong=table["true"] != table["predicted"]).join(known.drop(columns=[*table], errors="ignore"))


def shown(app, column):
    return next(one.value for one in app.dataframe if column in one.value)


def test_calibration_by_an_attribute(rows):
    app = opened(PAGE, view="Calibration", **{"calibration by": "background"})
    table = shown(app, "ECE").set_index("value")
    assert set(table.index) == set(rows["background"]) and table["pictures"].sum() == len(rows)
    for value, own in rows.groupby("background"):
        assert table.loc[value, "accuracy"] == pytest.approx(1 - own["wrong"].mean())
        assert table.loc[value, "confidence"] == pytest.approx(own["confidence"].mean())
        assert table.loc[value, "low"] < table.loc[value, "accuracy"] < table.loc[value, "high"]
    gap = table["confidence"] - table["accuracy"]
    assert gap.tolist() == sorted(gap, reverse=True)
    app = press_row(app, "calibrations", 0)
    assert f"background {table.index[0]}: errors first: **1** of {table['pictures'].iloc[0]}" in text(app)


def test_what_the_pictures_of_a_confused_pair_share(rows):
    app = opened(PAGE, view="Most confused", **{"pairs by": "background"})
    table = shown(app, "typical background")
    assert table["typical background"].str.len().gt(0).any()
    for pair in table.to_dict("records"):
        if not pair["typical background"]:
            continue
        words = re.fullmatch(r"background (\w+): (\d+) of (\d+) \((\d+)%; of all (.+) (\d+)%\)", pair["typical background"])
        value, inside, size, _, _, share = words.groups()
        own = rows[(rows["true"] == pair["true"]) & (rows["predicted"] == pair["predicted"])]
        every = rows[rows["true"] == pair["true"]]
        assert (own["background"] == value).sum() == int(inside) and len(own) == int(size)
        assert f"{(every['background'] == value).mean():.0%}" == f"{share}%"


def test_error_rates_of_two_models_by_an_attribute(rows):
    app = opened(PAGE, view="Two models", second="world_clean", **{"models by": "background"})
    table = shown(app, "new errors").set_index("value")
    assert table["pictures"].to_dict() == Counter(rows["background"])
    assert table["first"].to_dict() == pytest.approx(rows.groupby("background")["wrong"].mean().to_dict())
    net = (table["second"] - table["first"]) * table["pictures"]
    assert net.to_numpy() == pytest.approx((table["new errors"] - table["fixed"]).to_numpy())
    words = re.search(r"fixes ([\d,]+) errors and makes ([\d,]+) new ones", text(app)).groups()
    assert (table["fixed"].sum(), table["new errors"].sum()) == tuple(int(word.replace(",", "")) for word in words)


def test_the_gallery_is_sorted_by_an_attribute_and_shows_it(rows):
    app = opened(PAGE, sort="Highest size", true="(all)", predicted="(all)", **{"attribute shown": "background"})
    paths = [one.key.removeprefix("open ") for one in app.button if (one.key or "").startswith("open ")]
    first = rows.sort_values("size", ascending=False, kind="stable").head(24)
    assert paths == first["path"].tolist()
    tiles = [one.value for one in app.markdown if "margin: " in one.value]
    assert [re.search(r"background: (\w+)", tile).group(1) for tile in tiles] == first["background"].tolist()


def test_a_link_to_an_attribute_that_the_dataset_lacks_falls_back():
    app = opened(PAGE, dataset="Sample photographs, changed", sort="Highest size", true="(all)", predicted="(all)")
    assert app.selectbox(key="sort").value == "Most confident"


def test_what_the_pictures_of_a_cluster_share(rows):
    app = opened(PAGE, view="Clusters", **{"clusters share": "background"})
    said = [one.value.replace("\\", "") for one in app.caption if "of all clusters" in one.value]
    assert said
    for words in said:
        value, inside, size = re.match(r"background (\w+): (\d+) of (\d+)", words).groups()
        assert value in set(rows["background"]) and 0 < int(inside) <= int(size)


def test_a_dataset_without_attributes_offers_none():
    assert attribute_filters.choose(Dataset("bare", (), lambda name: b""), "Calibration by", "calibration by") is None
