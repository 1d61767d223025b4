"""The benchmark's table: its numbers, its intervals, taking up again, and the command."""

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import references
from changed_fields import assert_key_sees_each_field
from small_models import pictures, small

from xai_core.__main__ import main
from xai_core.attribution.catalog import METHODS
from xai_core.attribution.estimates import forward_passes
from xai_core.core import part_store
from xai_core.core.errors import BadRequest
from xai_core.data.datasets import open_dataset
from xai_core.explanation import rendering
from xai_core.pairs import benchmark
from xai_core.pairs.benchmark import CROPPED, PUBLISHED, WHOLE, BenchmarkPlan
from xai_core.pairs.catalog import PAIR_METHODS
from xai_core.pairs.evaluate import evaluate_pair
from xai_core.pairs.explain import explain_pair
from xai_core.pairs.metrics import PAIR_METRICS

PLAN = BenchmarkPlan(("grad_cam", "input_x_gradient"), metrics=("SI", "CAD", "MS"), step=500)


@pytest.fixture
def folder(tmp_path):
    """Three pictures, and a file that is none."""
    where = tmp_path / "pictures" / "inner"
    where.mkdir(parents=True)
    for number, picture in enumerate(pictures(3, 48)):
        rendering.to_pil(picture).save(where / f"{number}.png")
    (where / "broken.png").write_bytes(b"no picture")
    return where.parent


def files(folder):
    """The dataset, and its pictures in the order of a seed."""
    dataset = open_dataset(folder)
    return dataset, benchmark.chosen_pictures(dataset, 10, 0)


def test_variants_are_rows_of_their_own():
    model, picture = small("custom").model, pictures(1, 48)[0]
    names = ("grad_cam", f"grad_cam@cut={model.cuts[0]}", "smooth_grad@samples=2", "smooth_grad@samples=3")
    plan = BenchmarkPlan(names, metrics=("SI", "MS"), step=500, normalised=False)
    rows = benchmark.measure_picture(model, picture, 0, plan)
    for name, (method, cut, options) in zip(
        names,
        (
            ("grad_cam", None, {}), ("grad_cam", model.cuts[0], {}), ("smooth_grad", None, {"samples": 2}),
            ("smooth_grad", None, {"samples": 3}),
        ),
        strict=True,
    ):  # fmt: skip
        views = benchmark._views(picture, 0, CROPPED if method == "grad_cam" else WHOLE, plan)
        maps = {method: explain_pair(model, *views, method, cut=cut, **options)}
        expected = [row.value for row in evaluate_pair(model, *views, maps, ["SI", "MS"], cut=cut, step=500, controls=False)]
        found = [row["value"] for row in rows if row["method"] == name]
        assert sorted(found) == pytest.approx(sorted(expected), rel=1e-5)
    values = {name: [row["value"] for row in rows if row["method"] == name] for name in names}
    assert len({tuple(found) for found in values.values()}) == len(names)
    costs = [benchmark.passes(model, replace(plan, methods=(f"smooth_grad@samples={n}",))) for n in (2, 3)]
    assert costs[1] - costs[0] == pytest.approx(12 * forward_passes((2, 2)))  # the map, and eleven for max-sensitivity
    table = benchmark.table([rows], model.id)
    assert [line["method"] for line in table if line["metric"] == "MS"][:4] == list(names)
    assert plan.key(model) != replace(plan, methods=names[:3]).key(model)


def test_a_stopped_run_is_resumed(folder, tmp_path, monkeypatch):
    model, parts = small("custom").model, tmp_path / "parts"
    first, failed = benchmark.run(model, *files(folder), PLAN, parts)
    assert len(first) == 3 and len(failed) == 1 and "broken.png" in failed[0]
    stored = part_store.find_parts(parts / "parts")
    assert len(stored) == 3 and not list(parts.glob("**/.*"))
    assert {path.name for path in parts.iterdir()} == {"lock", "manifest.json", "parts"}
    stored[0].write_bytes(stored[0].read_bytes()[:40])  # a damaged part is measured again
    calls, real = [], benchmark.measure_picture
    monkeypatch.setattr(
        benchmark, "measure_picture", lambda *given, **options: calls.append(given[2]) or real(*given, **options)
    )
    again, _ = benchmark.run(model, *files(folder), PLAN, parts)
    assert len(calls) == 1 and str(again) == str(first)
    dataset, names = files(folder)
    names = [name for name in names if "broken" not in name]
    benchmark.run(model, dataset, names[:1], BenchmarkPlan(PLAN.methods, metrics=("SI",), seed=1, step=500), parts)
    assert len(calls) == 2  # another plan takes up nothing
    assert str(benchmark.run(model, *files(folder), PLAN, parts)[0]) == str(first)
    assert len(calls) == 2  # and leaves what is there
    assert len(part_store.read_manifest(parts)["plans"]) == 2


def test_rows_of_other_weights_are_not_taken_up(folder, tmp_path, monkeypatch):
    """The same plan, pictures and name of the model with other weights: measured anew, and each keeps its own rows."""
    model, plan = small("custom").model, BenchmarkPlan(("grad_cam",), controls=(), metrics=("CAD",))
    trained = replace(model, fingerprint="trained further")
    measured_with, real = [], benchmark.measure_picture
    monkeypatch.setattr(
        benchmark,
        "measure_picture",
        lambda model, *given, **options: measured_with.append(model.fingerprint) or real(model, *given, **options),
    )
    for each in (model, trained, model, trained):
        benchmark.run(each, *files(folder), plan, tmp_path / "parts")
    assert measured_with == [model.fingerprint] * 3 + [trained.fingerprint] * 3


def test_two_benchmarks_do_not_write_to_the_same_folder(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(part_store, "WAIT_SECONDS", 0.0)
    with part_store.locked(tmp_path / "parts", ""), pytest.raises(BadRequest, match="Another benchmark is writing to"):
        benchmark.run(small("custom").model, *files(folder), PLAN, tmp_path / "parts")


def test_rows_say_which_pairs_they_are_of():
    rows = benchmark.measure_picture(small("custom").model, rendering.to_pil(pictures(1, 48)[0]), 0, PLAN)
    of = {kind: {row["method"] for row in rows if row["pairs"] == kind} for kind in (CROPPED, WHOLE)}
    assert "grad_cam" in of[CROPPED] and "input_x_gradient" not in of[CROPPED]
    assert "input_x_gradient" in of[WHOLE] and "grad_cam" not in of[WHOLE]
    assert len(of[CROPPED] & of[WHOLE]) == 3  # controls stand beside both
    again = benchmark.measure_picture(small("custom").model, rendering.to_pil(pictures(1, 48)[0]), 1, PLAN)
    assert again != rows


def test_all_sixteen_methods_are_measured_behind_the_normalisation():
    options = {
        "conditional_occlusion": {"window": 16, "stride": 16},
        "context_agnostic_occlusion": {"window": 16, "stride": 16},
    }
    options |= {"pairwise_occlusion": {"samples": 3}, "smooth_grad": {"samples": 2}, "smooth_grad_guided": {"samples": 2}}
    plan = BenchmarkPlan(options=options | {"pixel_invariance": {"count": 3}}, metrics=("SI", "CI", "CAD"), step=1000)
    rows = benchmark.measure_picture(small("custom").model, rendering.to_pil(pictures(1, 48)[0]), 0, plan)
    assert {row["method"] for row in rows} >= set(PUBLISHED.values())
    assert {row["metric"] for row in rows if row["method"] == "pixel_invariance"} == {"CI", "CAD"}


def test_means_intervals_and_undefined_values():
    def rows(value):
        return [{"method": "grad_cam", "pairs": CROPPED, "metric": "CAD", "view": "both", "value": value},
                {"method": "grad_cam", "pairs": CROPPED, "metric": "CAD", "view": 1, "value": 9.0}]  # fmt: skip

    (line,) = benchmark.table([rows(value) for value in (1.0, 2.0, 3.0, math.nan)], "barlow_twins")
    assert line["mean"] == 2 and line["n"] == 3 and line["undefined"] == 1 and line["published"] == 0.431
    assert line["high"] - line["mean"] == pytest.approx(4.302653 / np.sqrt(3), abs=1e-5)  # t of two degrees of freedom
    (line,) = benchmark.table([rows(1.0)], "another")
    assert math.isnan(line["low"]) and math.isnan(line["published"])


def test_the_published_figures_are_those_of_the_reference():
    theirs = references.PUBLISHED_PAIRS.read_text()
    assert theirs == (benchmark.Path(benchmark.__file__).parent / "published.csv").read_text()
    assert len(PUBLISHED) == 16 and len(PAIR_METRICS) == 9
    for model in ("barlow_twins", "simclrv2_r50_2x"):
        figures = benchmark.published(model)
        assert {method for method, _ in figures} == set(PUBLISHED.values())
    assert figures["pairwise_occlusion", "SD"] == 0.643


def test_the_command_writes_a_table(folder, tmp_path, capsys):
    out = tmp_path / "out" / "table.csv"
    arguments = ["pairs-benchmark", "--model", "efficientnet_lite0", "--data", str(folder), "--images", "2"]
    arguments += ["--methods", "grad_cam,input_x_gradient", "--metrics", "SIC,CAD", "--published", "--out", str(out)]
    assert main(arguments) == 0
    with out.open() as file:
        lines = list(csv.DictReader(file))
    assert {line["metric"] for line in lines} == {"SIC", "CAD"} and len(lines) == (1 + 3 + 1 + 3) * 2
    said = out.with_suffix(".md").read_text()
    assert "| grad_cam | random crops |" in said and "behind the normalisation" in said
    assert out.with_suffix(".tex").read_text().count("tabular") == 2
    parts = part_store.find_parts(out.parent / "table.csv.parts" / "parts")
    manifest = part_store.read_manifest(out.parent / "table.csv.parts")
    assert parts and manifest["format"] == 1
    (settings,) = manifest["plans"].values()
    assert settings["plan"]["options"]["smooth_grad"] == {"samples": 50, "sigma_rule": "code"}
    assert len(parts) + capsys.readouterr().out.count("left out: broken.png") == 2
    assert main([*arguments[:-1], str(tmp_path / "table.txt")]) == 2
    assert main([*arguments[:4], str(tmp_path / "nowhere"), *arguments[5:]]) == 2


def test_the_key_of_a_plan(monkeypatch):
    """Each field, and everything of the model and the catalogues that the rows depend on."""
    model, keys = small("custom").model, {}
    others = {
        "methods": ("grad_cam",), "controls": (), "metrics": ("SI",), "seed": 1, "step": 501, "normalised": False,
        "options": {"grad_cam": {"relu": False}},
    }  # fmt: skip
    assert_key_sees_each_field(lambda plan: plan.key(model), PLAN, others)
    keys["itself"] = PLAN.key(model)
    for part in ("id", "fingerprint"):
        keys[part] = PLAN.key(replace(model, **{part: "another"}))
    keys["recipe"] = PLAN.key(replace(model, recipe=replace(model.recipe, shorter_side=77)))
    for catalog, name in ((PAIR_METHODS, "grad_cam"), (PAIR_METRICS, "SI"), (METHODS, "random_map")):
        with monkeypatch.context() as patch:
            patch.setitem(catalog, name, replace(catalog[name], version=99))
            keys[f"version of {name}"] = PLAN.key(model)
    monkeypatch.setattr(benchmark, "usual_options", lambda model, name: {"count": 7})
    keys["usual options"] = PLAN.key(model)
    assert len(set(keys.values())) == len(keys)
