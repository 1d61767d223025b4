"""A class is found by exactly its name, also where names are numbers; of equal scores the lowest index comes first."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import custom, pictures
from torch import nn

from xai_core.__main__ import main
from xai_core.analysis.compare_models import ask_model
from xai_core.analysis.predict import classify
from xai_core.attribution.explain import explain, request_for
from xai_core.core.errors import BadRequest
from xai_core.data.datasets import open_dataset
from xai_core.data.label_matching import match_classes, read_mapping
from xai_core.data.predictions import read_predictions
from xai_core.explanation.targets import ClassLogit, against_similar
from xai_core.models import loading
from xai_core.models.explainable import ExplainableModel
from xai_core.models.outputs import Outputs, top_classes

NUMBERS = tuple(sorted(map(str, range(1, 11))))  # as folders are sorted: '1', '10', '2', ..., '9'


@pytest.fixture(scope="module")
def numbered() -> ExplainableModel:
    return replace(custom().model, class_names=NUMBERS)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_name_that_is_a_number_means_the_class_of_that_name(numbered, name):
    assert numbered.class_index(name) == numbered.class_index(f" {name} ") == NUMBERS.index(name)
    assert explain(numbered, pictures(1, 48)[0], "saliency", target=name).target == f"logit of {name}"


def test_an_index_is_an_int_or_a_string_that_is_no_name(numbered):
    assert [numbered.class_index(index) for index in range(10)] == list(range(10))
    assert numbered.class_index("0") == 0
    for outside in (10, "12", "-1"):
        with pytest.raises(BadRequest, match="classes are 0 to 9"):
            numbered.class_index(outside)


def test_a_name_comes_before_a_synonym_and_a_wordnet_id():
    names = ("n00000002", "two, 1", "1", "Two", "two")
    model = replace(custom().model, class_names=names, wnids=tuple(f"n0000000{number}" for number in range(5)))
    assert [model.class_index(name) for name in ("n00000002", "n00000001", "1", "Two", "two")] == [0, 1, 2, 3, 4]
    assert dict(match_classes(["n00000002", "n00000001 a", "1"], model).index) == {"n00000002": 0, "n00000001 a": 1, "1": 2}


def test_a_rival_a_label_and_another_network_find_the_named_class(numbered):
    target = request_for(numbered, [pictures(1, 48)[0]], target="2", rival="10").target
    assert (target.classes, target.rivals) == ((NUMBERS.index("2"),), (NUMBERS.index("10"),))
    assert dict(match_classes(NUMBERS, numbered).index) == {name: index for index, name in enumerate(NUMBERS)}
    assert ask_model(numbered, pictures(1, 48)[0], "saliency", target="2").explanation.target == "logit of 2"


def test_a_mapping_tells_an_index_from_a_name(numbered, tmp_path):
    (tmp_path / "mapping.json").write_text('{"cat": "2", "dog": 2}')
    mapping = read_mapping(tmp_path / "mapping.json")
    assert dict(match_classes(["cat", "dog"], numbered, mapping).index) == {"cat": NUMBERS.index("2"), "dog": 2}


def test_the_command_explains_the_named_class(numbered, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loading, "load_model", lambda *_: numbered)
    main(["explain", "coffee", "--method=saliency", "--target=10", f"--out={tmp_path}"])
    assert "logit of 10" in capsys.readouterr().out


# Equal scores


def model_with_logits(logits: torch.Tensor) -> ExplainableModel:
    """A network that gives every picture these logits, on which its gradient is zero."""

    def classify(features: torch.Tensor) -> torch.Tensor:
        return logits + 0 * features[:, :1]

    stages = [("only", nn.Conv2d(3, 2, 3))]
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return ExplainableModel.from_stages(stages, pool, classify=classify, input_size=16)


def tied(classes: int, different: int) -> torch.Tensor:
    """Logits of which only a few are different: each stands at many classes."""
    return torch.randint(different, (classes,), generator=torch.Generator().manual_seed(classes)).float()


@pytest.mark.parametrize("classes", [2, 6, 17, 1000, 21841])
@pytest.mark.parametrize("different", [1, 3])
def test_of_equal_logits_the_lowest_index_is_named_explained_and_stored(classes, different, tmp_path):
    logits = tied(classes, different)
    model = model_with_logits(logits)
    expected = sorted(range(classes), key=lambda index: (-float(logits[index]), index))
    picture = torch.rand(3, 16, 16)
    assert [prediction.index for prediction in model.predictions(logits, classes)] == expected
    assert [prediction.index for prediction in model.top_k(picture)] == expected[:5]
    assert request_for(model, [picture]).activate().request.target == ClassLogit((expected[0],))
    assert explain(model, picture, "saliency").target == f"logit of class {expected[0]}"
    (tmp_path / "a").mkdir()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(tmp_path / "a" / "b.png")
    list(classify(model, open_dataset(tmp_path), tmp_path / "predictions.parquet"))
    (row,) = read_predictions(tmp_path / "predictions.parquet").itertuples()
    assert row.predicted_index == expected[0] and list(row.top5) == [f"class {index}" for index in expected[:5]]


def test_of_equally_similar_classes_the_lowest_indices_are_taken():
    logits = torch.tensor([[1.0, 3.0, 1.0, 2.0, 1.0, 3.0, 3.0] + [0.0] * 100])
    contrast = against_similar(ClassLogit((3,)), Outputs(logits, classify=lambda features: features), 4, 1.0)
    assert contrast.similar == ((0, 1, 2, 4),)


def test_logits_that_differ_by_less_than_probabilities_can_show_keep_their_order():
    logits = torch.full((1000,), 1e-9)
    logits[700] = 2e-9
    assert len(set(logits.softmax(0).tolist())) == 1
    assert custom().model.predictions(logits, 2)[0].index == int(top_classes(logits)) == 700
