"""Maps of errors and of as many right pictures."""

import numpy as np
import pandas as pd

from xai_core.attribution.explain import explain
from xai_core.data.datasets import world_dataset
from xai_core.data.world import planted
from xai_core.explanation.clustering import small_map
from xai_core.failures.error_groups import groups
from xai_core.failures.error_maps import group_maps, mapped_places
from xai_core.models.loading import load_model


def test_errors_and_as_many_right_pictures_have_the_map_of_the_predicted_class():
    model, world = load_model("world_planted"), world_dataset(planted.planted(), 0, "test", 12, "few")
    names = [sample.name for sample in world.samples]
    rows = pd.DataFrame({"path": names, "true": "a", "predicted": ["b"] * 3 + ["a"] * 9, "predicted_index": range(12)})
    rows["predicted_index"] %= 10
    maps = group_maps(model, world, rows)
    made = np.flatnonzero([one is not None for one in maps])
    assert (made == mapped_places(rows)).all() and len(made) == 6 and {0, 1, 2} <= set(made)
    expected = small_map(explain(model, world.open(names[1]), "grad_cam", target=1).heatmap)
    np.testing.assert_allclose(maps[1], expected, atol=1e-6)
    assert len(groups(rows, maps=maps).reasons) == 1
