"""The repair for a group of predictions: pairs from hidden regions, halves that do not mix, and reasons where nothing is."""

import numpy as np
import pytest
import torch
from opened_pages import ROOT

from xai_core.core.errors import BadRequest
from xai_core.data.datasets import open_dataset
from xai_core.data.predictions import read_predictions
from xai_core.failures.group_repair import MOST_PAIRS, features_of, head_of, hidden_pairs, pairs_looked_at, repair_group
from xai_core.failures.halves import halves
from xai_core.models.loading import load_model

MODEL = load_model("world_planted")


def rows():
    return read_predictions(ROOT / "data" / "predictions" / "world_planted.parquet")


def test_the_head_answers_as_the_predictions_say():
    table = rows()
    features = np.stack(table["embedding"].to_list())
    assert (head_of(MODEL).predicted(features) == table["predicted_index"]).all()


def test_only_errors_of_the_first_half_are_looked_at():
    table = rows()
    wrong = (table["true"] != table["predicted"]).to_numpy()
    first, _ = halves(len(table))
    places = pairs_looked_at(table, np.arange(len(table)))
    assert set(places) <= set(first) and wrong[places].all()
    assert len(places) == min(MOST_PAIRS, wrong[first].sum())


def test_a_pair_differs_in_the_region_alone_and_has_the_features_of_its_pictures():
    draws = torch.Generator().manual_seed(0)
    pictures = [torch.rand(3, 128, 128, generator=draws) for _ in range(3)]
    pairs = hidden_pairs(MODEL, pictures, [4, 4, 4], share=0.1, hiding="mean")
    changed = [(one != other).any(0) for one, other in pairs]
    assert all(torch.equal(one, picture) for (one, _), picture in zip(pairs, pictures, strict=True))
    assert 0 < changed[0].float().mean() <= 0.1 + 1e-3 and torch.equal(changed[0], changed[1])
    assert features_of(MODEL, pictures) == pytest.approx(MODEL.outputs(torch.stack(pictures)).features.double().numpy())


def test_the_mended_and_broken_pictures_are_those_of_the_table():
    table, dataset = rows(), open_dataset("world:planted")
    result = repair_group(MODEL, dataset, table, np.flatnonzero(table["true"] != table["predicted"])[:60])
    assert result.repair is not None and result.reason
    row = result.repair.table.iloc[0]
    assert (row["mended"], row["broken"]) == (len(result.mended), len(result.broken))
    assert set(result.mended) | set(result.broken) <= set(halves(len(table))[1])
    assert not set(result.places) & set(halves(len(table))[1])


def test_too_few_errors_are_a_reason_and_a_head_of_another_kind_is_refused():
    table, dataset = rows(), open_dataset("world:planted")
    result = repair_group(MODEL, dataset, table, [])
    assert result.repair is None and result.reason.startswith("No edit is tried: 0 errors")
    with pytest.raises(BadRequest, match="no linear head"):
        repair_group(load_model("simsiam", "random"), dataset, table, [])
