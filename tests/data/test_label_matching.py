"""Labels find the classes they mean by mapping, WordNet id or name; what does not match is said, never guessed."""

import json

import pytest
from small_models import pair

from xai_core.core.errors import BadRequest, UnknownName
from xai_core.data.label_matching import match_classes, read_mapping


@pytest.fixture(scope="module")
def model(lite0):
    return lite0


def test_names_synonyms_and_wordnet_ids_match(model):
    labels = ["tabby", "Tiger_Cat", "n02124075", "n01440764_tench", "golden-retriever", "Egyptian cat"]
    found = match_classes(labels, model)
    assert dict(found.index) == {
        "tabby": 281,
        "Tiger_Cat": 282,
        "n02124075": 285,
        "n01440764_tench": 0,
        "golden-retriever": 207,
        "Egyptian cat": 285,
    }
    assert found.how["n01440764_tench"] == "wnid" and found.how["tabby"] == "name" and not found.unmatched
    said = found.report()
    assert "6 of 6 labels" in said and "Several labels mean one class: Egyptian cat, n02124075." in said
    assert found.unused == 995 and "995 classes of the model have no label here" in said


def test_what_does_not_match_is_said_with_the_reason(model):
    found = match_classes(["tabby", "crane", "unicorn", "7", "n99999999"], model)
    assert set(found.index) == {"tabby"} and set(found.unmatched) == {"crane", "unicorn", "7", "n99999999"}
    said = found.report({"unicorn": 1200})
    assert "1 of 5 labels" in said and "'unicorn' (1,200 pictures)" in said and "fits several classes" in said


def test_a_mapping_comes_first_and_may_name_an_index(model):
    found = match_classes(["7", "cat"], model, {"7": 7, "cat": "n02124075"})
    assert dict(found.index) == {"7": 7, "cat": 285} and set(found.how.values()) == {"mapping"}
    with pytest.raises(UnknownName):
        match_classes(["cat"], model, {"cat": "unicorn"})
    with pytest.raises(BadRequest, match="labels that are not in the dataset: dog"):
        match_classes(["cat"], model, {"dog": "tabby"})


def test_many_unmatched_labels_are_counted_not_listed(model):
    said = match_classes([f"strange {number}" for number in range(200)], model).report()
    assert "And 180 more labels that did not match." in said and len(said.splitlines()) == 22


def test_a_class_whose_name_is_a_number_is_found_by_it():
    from dataclasses import replace

    model = replace(pair("resnet").model, class_names=("1", "2", "ten"), wnids=())
    assert dict(match_classes(["1", "ten", "3"], model).index) == {"1": 0, "ten": 2}


@pytest.mark.parametrize("name", ["mapping.json", "mapping.csv"])
def test_a_mapping_is_read_from_json_or_csv(tmp_path, name):
    wanted = {"cat": "tabby", "7": "3"}
    text = json.dumps(wanted) if name.endswith("json") else "label,class\ncat,tabby\n7,3\n"
    (tmp_path / name).write_text(text)
    assert read_mapping(tmp_path / name) == wanted
    for wrong in ("[1, 2]", "{") if name.endswith("json") else ("a,b,c\n", "lonely\n"):
        (tmp_path / name).write_text(wrong)
        with pytest.raises(BadRequest, match="is no mapping"):
            read_mapping(tmp_path / name)
    with pytest.raises(BadRequest, match="is no mapping"):
        read_mapping(tmp_path / "missing.csv")
