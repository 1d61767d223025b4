"""Variants: one text for each, the same map as `explain` with these settings, and what is wrong with one in a sentence."""

import re

import numpy as np
import pytest
import small_runs
from small_models import pictures, small

from xai_core.attribution import variants
from xai_core.attribution.catalog import METHODS
from xai_core.attribution.explain import explain, explain_methods, request_for, with_method
from xai_core.core.errors import BadRequest, UnknownName
from xai_core.core.options import Choice, options_of
from xai_core.metrics.measure import measure, total_cost
from xai_core.pairs.catalog import PAIR_METHODS, find_pair_variant

OPTIONS = [(method, option) for method in METHODS.values() for option in options_of(method.run)]


def other_values(option):
    """Values of an option other than its default: both bounds, or every other choice."""
    if option.kind is bool:
        return [not option.default]
    values = option.bounds.values if isinstance(option.bounds, Choice) else (option.bounds.low, option.bounds.high)
    return [option.kind(value) for value in values if option.kind(value) != option.default]


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_method_alone_is_the_variant_with_nothing_set(method):
    defaults = "+".join(f"{one.name}={variants.as_text(one.default)}" for one in options_of(method.run))
    for text in (method.id, method.title, f"{method.id}@", f"{method.id}@{defaults}", f"{method.id}@precision=exact"):
        variant = variants.parse(text)
        assert (variant.name, variant.title, variant.settings) == (method.id, method.title, {})


@pytest.mark.parametrize(("method", "option"), OPTIONS, ids=[f"{method.id}.{option.name}" for method, option in OPTIONS])
def test_every_option_comes_back_from_its_text(method, option):
    assert option.name not in (variants.CUT, variants.PRECISION)
    titles = {method.title}
    for value in other_values(option):
        variant = variants.Variant(method, {option.name: value}, "layer3" if "cut" in method.needs else "", "fast")
        assert variants.parse(variant.name) == variant, "every setting is read as it was written"
        assert "," not in variant.name, "names stand in lists with commas"
        settings = reversed(variants.BETWEEN.split(variant.name.partition("@")[2]))
        assert variants.parse(f"{method.title}@{'+'.join(settings)}") == variant, "in any order"
        titles.add(variant.title)
    assert len(titles) == 1 + len(other_values(option)), "variants have titles of their own"


@pytest.mark.parametrize("method", PAIR_METHODS.values(), ids=PAIR_METHODS)
def test_methods_for_pairs_keep_what_is_set_even_where_it_is_the_default(method):
    for option in method.options():
        for value in [option.default, *other_values(option)]:
            variant = find_pair_variant(f"{method.id}@{option.name}={variants.as_text(value)}")
            assert variant.options == {option.name: value} and find_pair_variant(variant.name) == variant
    assert find_pair_variant(method.title).name == method.id


def test_titles_are_for_people():
    in_any_order = [{"eigen": True, "augment": True}, {"augment": True, "eigen": True}]
    titles = {variants.Variant(METHODS["grad_cam"], options).title for options in in_any_order}
    assert titles == {"Grad-CAM, augment, eigen"}
    assert variants.parse("grad_cam@eigen=true+cut=layer3").title == "Grad-CAM, cut layer3, eigen"
    assert variants.parse("smooth_grad@samples=5+precision=fast").title == "SmoothGrad, samples 5, fast precision"
    assert find_pair_variant("grad_cam@cut=layer3").title == "Grad-CAM for similarity, cut layer3"
    assert find_pair_variant("input_x_gradient_blurred").name == "input_x_gradient@blur=true"


@pytest.mark.parametrize(
    ("text", "words"),
    {
        "grad_kam": "no method 'grad_kam'. Known: grad_cam",
        "grad_cam@eigne=true": "no setting of Grad-CAM 'eigne'. Known: eigen ",
        "grad_cam@eigen": "'eigen' is no setting",
        "grad_cam@eigen=": "'eigen=' is no setting",
        "grad_cam@=true": "'=true' is no setting",
        "grad_cam@eigen=true+eigen=false": "sets eigen twice",
        "grad_cam@eigen=perhaps": "true or false, not 'perhaps'",
        "smooth_grad@samples=0": "a whole number from 2 to 200, not '0'",
        "smooth_grad@cut=layer3": "no setting of SmoothGrad 'cut'",
        "grad_cam@precision=best": "exact, fast",
        "grad_cam@cut=layer3@eigen=true": "no cut|no setting",
    }.items(),
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_sentence(text, words):
    with pytest.raises(BadRequest, match=words if "|" in words else re.escape(words)):
        with_method(request_for(small("custom").model, [pictures(1, 48)[0]], target=1), text)


def test_two_texts_of_one_variant_are_refused():
    with pytest.raises(BadRequest, match="'grad_cam' and 'grad_cam@eigen=false' are the same variant, grad_cam"):
        variants.parse_all(["grad_cam", "grad_cam@eigen=false"])
    assert list(variants.parse_all(["grad_cam", "Grad-CAM"])) == ["grad_cam"]
    assert list(variants.parse_all(["rise", "rise@precision=exact"], "fast")) == ["rise", "rise@precision=exact"]
    model = small("resnet").model
    usual = variants.parse(f"grad_cam@cut={model.network.cut_name(None)}")
    with pytest.raises(BadRequest, match="same map here"):
        variants.check_on([variants.parse("grad_cam"), usual], {"resnet": model})
    variants.check_on([variants.parse("grad_cam"), variants.parse("grad_cam@cut=layer2")], {"resnet": model})


def test_a_cut_that_models_lack_is_named_with_these_models():
    models = {name: small(name).model for name in ("resnet", "custom", "vit")}
    chosen = [variants.parse("saliency"), variants.parse("grad_cam@cut=layer2")]
    with pytest.raises(
        BadRequest, match=r"grad_cam@cut=layer2 names a cut that custom, vit \(2 of 3 networks\) do not have"
    ):
        variants.check_on(chosen, models)
    with pytest.raises(BadRequest, match=r"grad_cam@cut=layer2: There is no cut 'layer2'\. Known: "):
        variants.check_on(chosen, {"vit": models["vit"]})


def test_settings_named_twice_must_agree():
    model, picture = small("resnet").model, pictures(1, 96)[0]
    with pytest.raises(BadRequest, match="sets eigen to true: it cannot be false too"):
        explain(model, picture, "grad_cam@eigen=true", target=1, eigen=False)
    with pytest.raises(BadRequest, match="it cannot be layer3"):
        explain(model, picture, "grad_cam@cut=layer2", target=1, cut="layer3")
    assert explain(model, picture, "grad_cam@eigen=true", target=1, eigen=True).options["eigen"] is True


@pytest.mark.parametrize("target", [3, None], ids=["class", "predicted class"])
def test_variants_at_several_cuts_equal_explaining_each_alone(target):
    model, images = small("resnet").model, pictures(1, 96)[0]
    settings = {
        "grad_cam": {},
        "grad_cam@cut=layer2": {"cut": "layer2"},
        "grad_cam@cut=layer3+eigen=true": {"cut": "layer3", "eigen": True},
        "grad_cam@precision=fast": {"precision": "fast"},
        "smooth_grad@samples=2": {"samples": 2},
    }
    found = dict(explain_methods(model, images, {name: {} for name in settings}, target=target))
    target = int(found["grad_cam"].target.split()[-1])
    for name, given in settings.items():
        alone = explain(model, images, variants.method_of(name).id, target=target, **given)
        assert found[name].key == alone.key and found[name].cut == alone.cut
        np.testing.assert_array_equal(found[name].heatmap, alone.heatmap)
        request = with_method(request_for(model, [images], target=target), name)
        again = variants.of_request(request)
        assert again.name_on(model) == variants.parse(name).name_on(model)
    assert len({one.key for one in found.values()}) == len(settings)


def test_a_run_has_a_row_for_each_variant(tmp_path):
    model = small_runs.small_model("small")
    cut = model.cuts[0]
    names = ["grad_cam", f"grad_cam@cut={cut}", "grad_cam@eigen=true"]
    run = small_runs.evaluate(
        tmp_path / "run", 2, methods=[names[0], names[2], f"Grad-CAM@cut={cut}"], metrics=("deletion",)
    )
    table = run.table()
    rows = table[table.method.isin(names)]
    assert len(rows) == 2 * 3 and set(rows.method) == set(names) and rows.run_key.is_unique
    assert run.manifest["methods"][names[1]]["title"] == f"Grad-CAM, cut {cut}"
    dataset = small_runs.pictures(2)
    for name, given in zip(names, ({}, {"cut": cut}, {"eigen": True}), strict=True):
        for picture in ("0.png", "1.png"):
            alone = explain(model, dataset.open(picture), "grad_cam", **given)
            value = measure(model, dataset.open(picture), alone, "deletion", controls=False).value
            found = rows[(rows.method == name) & (rows.name == picture)].value.item()
            assert found == pytest.approx(value, abs=1e-6)
    again = small_runs.evaluate(tmp_path / "run", 2, methods=names, metrics=("deletion",), dry=True)
    assert again.rows == 0, "the same variants are not measured again"
    with pytest.raises(BadRequest, match="was measured with another grad_cam"):
        small_runs.evaluate(tmp_path / "run", 2, methods={"grad_cam": {"eigen": True}}, metrics=("deletion",))
    plain = small_runs.evaluate(tmp_path / "plain", 2, methods=["grad_cam"], metrics=("deletion",)).table()
    both = table[table.method == "grad_cam"].merge(plain, on=["run_key", "name"])
    assert len(both) == 2, "the keys of methods without settings are as they were"


def test_a_run_refuses_variants_that_its_networks_cannot_answer(tmp_path):
    with pytest.raises(BadRequest, match="no_such_layer"):
        small_runs.evaluate(tmp_path / "run", methods=["grad_cam@cut=no_such_layer"])
    with pytest.raises(UnknownName, match="eigen"):
        small_runs.evaluate(tmp_path / "run", methods=["grad_cam@eigne=true"])
    with pytest.raises(BadRequest, match="same variant"):
        small_runs.evaluate(tmp_path / "run", methods=["grad_cam", "grad_cam@eigen=false"])
    assert not (tmp_path / "run").exists()


def test_costs_are_those_of_the_settings():
    few, many = (total_cost(["deletion", "max_sensitivity"], {f"smooth_grad@samples={n}": {}}, False) for n in (5, 50))
    assert many == total_cost(["deletion", "max_sensitivity"], {"smooth_grad": {"samples": 50}}, False)
    assert few < many
