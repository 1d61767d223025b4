"""Charts of confusion are valid Vega-Lite and show what they should."""

import numpy as np
import pytest
from small_predictions import TABLE

from xai_core.analysis.confusion import OTHERS, Confusion, calibration, confusion, per_class, worst_classes
from xai_core.app.charts import confusion as charts_confusion

FEW = confusion(TABLE)
MANY = worst_classes(Confusion(np.random.default_rng(0).integers(0, 9, (200, 200)), tuple(map(str, range(200)))), 40)


@pytest.mark.parametrize("found", [FEW, MANY], ids=["few", "many"])
@pytest.mark.parametrize("rates", [False, True])
@pytest.mark.parametrize("dim", [False, True])
def test_the_matrix_is_a_chart_with_a_selection(found, rates, dim):
    spec = charts_confusion.confusion_matrix(found, rates=rates, dim_diagonal=dim).to_dict()
    assert [one["name"] for one in spec["params"]] == ["cell"] and spec["width"] < 1000
    (rows,) = spec["datasets"].values()
    assert rows and all(row["pictures"] for row in rows)  # empty cells are left empty


def test_a_difference_is_symmetric_about_zero():
    spec = charts_confusion.confusion_matrix(
        FEW, rates=False, dim_diagonal=False, other=Confusion(FEW.counts.T, FEW.classes), titles=("b", "a")
    ).to_dict()
    scale = spec["layer"][0]["encoding"]["color"]["scale"]
    assert scale["domain"] == [-2, 2] and spec["layer"][0]["encoding"]["color"]["title"] == "b minus a"


def test_the_classes_without_a_row_of_their_own_do_not_own_the_scale():
    counts = np.array([[5, 3, 40], [2, 7, 0], [90, 0, 4000]])
    spec = charts_confusion.confusion_matrix(
        Confusion(counts, ("a", "b", OTHERS)), rates=False, dim_diagonal=False
    ).to_dict()
    color = spec["layer"][0]["encoding"]["color"]
    assert color["scale"]["domain"] == [0, 7] and color["condition"]["test"] == "datum.rest"
    (rows,) = spec["datasets"].values()
    assert {(row["true"], row["predicted"]) for row in rows if row["rest"]} == {
        ("a", OTHERS),
        (OTHERS, "a"),
        (OTHERS, OTHERS),
    }


def test_the_others_are_charts():
    assert charts_confusion.calibration(calibration(TABLE)[0]).to_dict()["layer"]
    assert charts_confusion.per_class(per_class(TABLE)).to_dict()["mark"]
