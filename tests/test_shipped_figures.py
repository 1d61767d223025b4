"""Figures in README.md and docs/ are those of the catalogue, the cards, and the result files that ship with the project.

Each is formatted here from its source and looked for in the document, so that a new result asks for a new sentence.
"""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from xai_core.app.shared import map_gallery, page_links, widgets
from xai_core.attribution.catalog import METHODS
from xai_core.data.image_io import FORMATS, MAX_BYTES, MAX_PIXELS
from xai_core.data.samples import SAMPLES
from xai_core.metrics.catalog import METRICS
from xai_core.models.zoo.catalog import CARDS

ROOT = Path(__file__).parents[1]
README, SPEED, MODELS = (
    " ".join((ROOT / name).read_text(encoding="utf-8").split()) for name in ("README.md", "docs/speed.md", "docs/models.md")
)
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def result(name):
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


def trained(kind):
    """The networks that were trained here and come with the project."""
    return sorted(path.stem for path in (ROOT / "weights").glob(f"{kind}_*.toml"))


@pytest.mark.parametrize(
    "said",
    [
        f"{NUMBERS[len(trained('*'))]} small networks, {NUMBERS[len(trained('scenes'))]} trained on scenes and "
        f"{NUMBERS[len(trained('world'))]} on pictures that the app draws, and {NUMBERS[len(SAMPLES)]} photographs",
        f"| the {len(METHODS)} methods, and",
        f"| the {len(METRICS)} metrics, and",
        f"Insertion, deletion, ROAD and {len(METRICS) - len({'insertion', 'deletion', 'road'} & {*METRICS})} other metrics",
        f"| the {len({*CARDS} | {*trained('*')})} networks, their weights",
        f"Maps of {map_gallery.PICTURES} pictures at once",
        f"{', '.join(FORMATS).replace('WEBP', 'WebP')} up to {MAX_BYTES >> 20} MB and {MAX_PIXELS // 10**6} million pixels",
    ],
)
def test_the_readme_counts_what_is_there(said):
    assert said in README


def test_the_readme_names_the_grid_of_the_embedded_network():
    from xai_core.attribution.explain import explain
    from xai_core.data.samples import load_sample
    from xai_core.models.loading import load_model

    rows, columns = explain(load_model("efficientnet_lite0"), load_sample("coffee"), "grad_cam").heatmap.shape
    assert f"({rows} x {columns} here)" in README and f"here ({rows}, {columns})" in README


def medians(file):
    """The rows of a benchmark, by their work and what they are compared with."""
    rows = result(file)["rows"]
    rows = rows if isinstance(rows, list) else [row for kind in rows.values() for row in kind]
    return {(row["work"], row["against"]): row for row in rows}


SINGLE, METHOD = medians("single_image"), medians("methods")


def ratio(rows, work, against):
    (found,) = (row for (of, beside), row in rows.items() if of == work and beside.startswith(against))
    return found["ratio"]["median"]


def of_method(work):
    (found,) = (row for (of, _), row in METHOD.items() if of == work)
    return found


PEER = "grad-cam's Grad-CAM"
CAPTUM = [ratio(SINGLE, work, "captum") for work in ("Integrated gradients", "SmoothGrad", "Saliency")]
SHARES = [
    f"{ratio(SINGLE, 'Grad-CAM', 'a plain'):.2f} (the library grad-cam: {ratio(SINGLE, PEER, 'a plain'):.1f})",
    f"| six CAMs from one trunk pass | one plain forward pass | {ratio(SINGLE, '6 CAMs, one trunk pass', 'a plain'):.2f} |",
    f"| six CAMs | grad-cam, one by one | {ratio(SINGLE, '6 CAMs, one trunk pass', 'grad-cam'):.2f} |",
    f"saliency | captum | {min(CAPTUM):.2f} to {max(CAPTUM):.2f} |",
    f"`fast` | captum | {ratio(SINGLE, 'Occlusion sensitivity, fast', 'captum'):.2f}, rank correlation with `exact` "
    f"{SINGLE['Occlusion sensitivity, fast', 'captum']['spearman']:.4f} |",
    f"square can reach | captum | {of_method('Occlusion, 64 / 8 pixels, exact')['ratio']['median']:.2f} |",
    f"| {of_method('LIME, 1,000 samples, fast')['ratio']['median']:.2f}; "
    f"{of_method('RISE, 2,000 masks, all classes, fast')['ratio']['median']:.2f} (`exact`: "
    f"{of_method('LIME, 1,000 samples, exact')['ratio']['median']:.2f}) |",
    f"| {of_method('Grad-CAM of 64 pictures, exact')['ratio']['median']:.2f} and "
    f"{of_method('Grad-CAM of 64 pictures, fast')['ratio']['median']:.2f} |",
    f"{of_method('Eight CAMs, one call, exact')['ratio']['median']:.4f} "
    f"({of_method('Eight CAMs, one call, exact')['ours']['median']:.1f} s instead of "
    f"{of_method('Eight CAMs, one call, exact')['peer']['median']:.0f} s)",
    f"{of_method('Ablation-CAM, 2,048 channels, exact')['ratio']['median']:.4f} "
    f"({of_method('Ablation-CAM, 2,048 channels, exact')['ours']['median']:.2f} s instead of "
    f"{of_method('Ablation-CAM, 2,048 channels, exact')['peer']['median']:.0f} s)",
    f"{of_method('Score-CAM, 2,048 channels, fast')['ratio']['median']:.2f}, rank correlation with `exact` "
    f"{of_method('Score-CAM, 2,048 channels, fast')['spearman']:.3f} |",
]


@pytest.mark.parametrize("said", SHARES)
def test_shares_of_time_are_those_of_the_benchmarks(said):
    assert said in SPEED


def test_rounds_stand_beside_medians():
    twice = {row["rounds"] for (work, _), row in METHOD.items() if work.startswith("Grad-CAM of 64")}
    shown = ("Occlusion", "LIME", "RISE", "Eight", "Ablation", "Score")
    assert {row["rounds"] for (work, _), row in METHOD.items() if work.startswith(shown)} == {1} and twice == {2}
    assert "measured once, Grad-CAM of 64 pictures twice" in SPEED
    page = result("page")
    assert f"median of {page['rounds']} clicks" in SPEED
    assert (
        f"shown again {page['again']['median']:.2f} s after" in SPEED and f"explanation {page['first']:.1f} s after" in SPEED
    )
    pictures = result("voting")["pictures"]
    assert f"(median over a round of {pictures} pictures" in SPEED


def rounds_of(name):
    """Those that a result notes; of results from before they were noted, the default of their benchmark."""
    source = (ROOT / "benchmarks" / f"{name}.py").read_text()
    return result(name).get("rounds", int(re.search(r'"--rounds", type=int, default=(\d+)', source)[1]))


def test_rounds_that_no_file_notes_are_the_defaults_of_the_benchmarks():
    every = rounds_of("single_image")
    occlusion = re.search(r'(\d+) if name == "occlusion" else few', (ROOT / "benchmarks" / "single_image.py").read_text())[1]
    assert (
        f"medians of paired ratios: {every} rounds beside a plain forward pass and for Grad-CAM, {every // 6} for" in SPEED
    )
    assert f"`single_image.json`, {occlusion} for occlusion" in SPEED
    assert f"medians of {rounds_of('review')} rounds, the default of `python -m benchmarks.review`" in SPEED
    assert f"medians of {rounds_of('failures')} rounds, the default of `python -m benchmarks.failures`" in SPEED


def test_first_views_take_what_their_benchmark_says_and_show_their_figures():
    first = result("first_view")
    rows = [f"| {title} | {one['seconds']:.1f} | {one['cpu']:.1f} |" for title, one in first["pages"].items()]
    assert f"|---|--:|--:| {' '.join(rows)} The goal" in SPEED and [*first["pages"]] == [*page_links.FILES]
    assert all(one["figure"] for one in first["pages"].values())
    asks = {title: one["asks"] for title, one in first["pages"].items() if one["asks"]}
    assert asks == {page_links.METRICS: ["Self-test"]}  # it is done only where it is wanted
    assert f"Medians of {first['rounds']} round" in SPEED and f"idle machine is {first['goal, s']:g} s" in SPEED
    assert "a load of {:.0f} to {:.0f}".format(*sorted(first["load"])) in SPEED
    seconds, title = max((one["seconds"], title) for title, one in first["pages"].items())
    assert seconds < first["goal, s"], "the text says that all pages reach the goal"
    words = f"all pages reach it; {title} takes longest, {seconds:.1f} s. A server answers {first['start, s']:.1f} s after"
    assert words in SPEED


def test_a_rerun_costs_what_its_benchmark_says():
    rerun = result("rerun")
    words = f"costs the server {1000 * rerun['median']:.0f} ms of the processor (median of {rerun['rounds']}"
    assert words in SPEED and rerun["median"] < rerun["goal"]


def test_many_visitors_wait_as_their_benchmark_says():
    visitors = result("visitors")
    waits, memory, turns = visitors["waits"], visitors["memory"], visitors["turns"]
    assert f"opens {visitors['sessions']} sessions over the real server for {visitors['minutes']:g} minutes" in SPEED
    assert f"at most {visitors['limit, MB']:,} MB of memory" in SPEED and memory["peak"] < visitors["limit, MB"]
    count, errors = sum(wait["count"] for wait in waits.values()), len(visitors["errors"])
    assert f"Of {count:,} clicks on an {visitors['machine']['cpu']} without other work {errors} met an error" in SPEED
    maps = waits["Single_image, Method"]
    assert (
        f"its map is loaded {maps['median']:.2f} s passed (median of {maps['count']}; at most {maps['longest']:.1f} s"
        in SPEED
    )
    assert f"{maps['asks']} ended with a button" in SPEED
    usual = {name: wait["median"] for name, wait in waits.items()}
    assert f"Training evolution ({usual.pop('Training_evolution, opened'):.1f} s)" in SPEED
    assert f"every other kind of click is below {max(usual.values()) + 0.005:.1f} s" in SPEED
    assert f"{memory['peak']:,.0f} MB at most, and grew by {memory['growth, MB a minute']:.0f} MB a minute" in SPEED
    took = (
        f"took {visitors['sessions']} sessions for {NUMBERS[visitors['minutes']]} minutes: {count:,} clicks without an error"
    )
    assert f"{took}, {memory['peak'] / 1000:.1f} GB at most, and {maps['median']:.2f} s from the click" in README
    assert f"to the map (median of {maps['count']})" in README
    assert not errors
    assert f"done after {max(turns['stays']):.2f} s" in SPEED and f"his tab ({max(turns['closes the tab']):.2f} s)" in SPEED


def test_a_large_run_takes_what_its_benchmark_says():
    large = result("large_run")
    seconds, page, memory = large["seconds"], large["page"], large["memory"]
    assert f"a made run of {large['pictures']:,} predictions" in SPEED
    for words, value in {
        "once for all visitors": f"{page['first']:.1f}", "with a page of pictures": f"{page['rerun']:.2f}",
        "with a page of its pictures": f"{page['cell']:.2f}", "in another order": f"{page['sort']:.2f}",
        "another value of a filter by metadata": f"{page['filter by metadata']:.2f}",
        "what is held of the predictions": f"{seconds['open']:.1f}; {seconds['hold']:.2f}",
        "and the matrix": f"{seconds['confusion']:.2f}", "confused most": f"{seconds['most confused']:.2f}",
        "of a cell, sorted": f"{seconds['cell']:.2f}", "and the counts again": f"{seconds['filter by metadata']:.2f}",
        "of each class; calibration": f"{seconds['per class']:.2f}; {seconds['calibration']:.2f}",
        "spread over the file": f"{seconds['all columns of 24 rows']:.2f}",
    }.items():  # fmt: skip
        assert f"{words} | {value} |" in SPEED, words
    assert f"adds {memory['dataset MB']:.0f} MB to the server and the predictions {memory['held MB']:.0f} MB" in SPEED
    assert f"it is {memory['most MB']:.0f} MB at most" in SPEED


def test_waiting_times_of_the_review_are_those_of_the_benchmarks():
    review, voting = result("review"), result("voting")["ms"]
    first = max(review["rows"], key=lambda row: row["first"]["median"])
    again = max(row["again"]["median"] for row in review["rows"])
    assert f"With {review['pictures']:,} pictures and {review['people']} people" in SPEED
    assert f"at most {first['first']['median']:.2f} s the first time ({first['view']})" in SPEED
    assert f"at most {again:.2f} s again" in SPEED
    assert f"waits {voting['next']['median'] / 1000:.2f} s" in SPEED
    assert f"saved after {voting['saved']['median'] / 1000:.2f} s" in SPEED


def test_confusion_evolution_takes_what_its_benchmark_says():
    shipped, large = result("evolution")["rows"]
    svg, png = (shipped["seconds"][kind]["median"] for kind in ("svg", "png"))
    assert f"{shipped['samples']:,} samples in {shipped['epochs']} epochs" in SPEED
    assert f"takes {svg:.2f} s of the processor as SVG and {png:.2f} s more as PNG" in SPEED
    assert f"of {result('evolution')['rounds']} rounds on one core; {sum(shipped['first'].values()):.2f} s together" in SPEED
    together = sum(large["seconds"][kind]["median"] for kind in ("svg", "png"))
    assert f"of {large['samples']:,} samples in {large['epochs']} epochs {together:.1f} s together" in SPEED
    assert sum(shipped["first"].values()) < 3, "what the figure may take"


def test_turning_a_page_of_the_gallery_takes_what_its_benchmark_says():
    gallery = result("gallery")
    assert f"24 of {gallery['pictures']:,} pictures" in SPEED and f"of {gallery['turns']} turns" in SPEED
    assert "load of {:.0f} to {:.0f}".format(*sorted(gallery["load"])) in SPEED
    for took in gallery["ms"].values():
        seconds = [f"{value / 1000:.2f}" for value in (took["median"], *took["quartiles"])]
        assert "{} s ({} to {}".format(*seconds) in SPEED
    again, first = (
        [f"{gallery['ms'][kind]['cpu'][whose]['median'] / 1000:.2f}" for whose in ("server", "browser")]
        for kind in ("again", "first")
    )
    assert "{} s of the server and {} s of the browser".format(*again) in SPEED
    assert "{} and {} s the first time".format(*first) in SPEED


def test_triage_and_groups_take_what_their_benchmark_says():
    failures = result("failures")
    assert f"Of {failures['pictures']:,} pictures with {failures['features']:,} stored features" in SPEED
    triage, groups = (failures[f"{work}, s of the clock"]["median"] for work in ("triage", "groups"))
    assert f"label triage takes {triage:.1f} s and groups of errors {groups:.1f} s" in SPEED
    assert f"{failures['both, s of the processor']:.1f} s of the processor together" in SPEED
    assert failures["both, s of the clock"] < failures["goal, s"]
    for work in ("statistics", "drawing"):
        assert f"{failures[f'{work}, ms of the processor a picture']['median']:.1f} ms" in SPEED


@pytest.mark.parametrize("network", trained("*"))
def test_accuracies_are_those_of_the_reports_with_their_samples(network):
    report = (ROOT / "weights" / f"{network}.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| `{network}` \|.*$", (ROOT / "docs" / "models.md").read_text(encoding="utf-8"), re.MULTILINE)
    said, count = re.search(r"\| ([\d.]+)%(?: of ([\d,]*\d))?", row).groups()
    if network.startswith("scenes"):
        percent, measured = re.search(r"\*\*Right:\*\* ([\d.]+)% of ([\d,]+) test pictures", report).groups()
        assert float(said) == round(float(percent), 1) and f"accuracy on {measured} test pictures" in MODELS
    elif network != "world_barlow":
        shipped = result("world")
        assert f"{shipped['pictures']:,}" == count
        accuracy = shipped["models"][network]["accuracy"]["planted" if network == "world_planted" else "clean"]
        assert said == f"{100 * accuracy:.1f}"
    else:
        percent, measured = re.search(r"\*\*Right:\*\* ([\d.]+)% of ([\d,]+) test pictures", report).groups()
        assert (float(said), count) == (round(float(percent), 1), measured)


def test_the_costs_of_drawing_are_those_of_the_benchmark():
    speed = result("world_speed")
    assert f"Drawing {speed['pictures a second']:.0f} pictures a second" in MODELS
    assert f"takes {speed['drawing, share of training']:.0%} of the time of a training" in MODELS
    assert f"and {speed['drawing, share of one map by integrated gradients']:.1%} of that of one map" in MODELS


@pytest.mark.parametrize("fault", result("world")["models"]["world_planted"]["faults"], ids=lambda one: one["pictures of"])
def test_the_faults_of_the_planted_network_are_those_of_the_benchmark(fault):
    usual, acting = f"{fault['usual']:.1%}", f"{fault['where the cause acts']:.1%}"
    drop = f"{100 * fault['drop']:.0f} ({100 * fault['low']:.0f} to {100 * fault['high']:.0f})"
    said = f"| {fault['cause']} | {fault['pictures of']} (n = {fault['pictures']}) | {usual} | {acting} | {drop} |"
    assert said in MODELS


def test_the_document_on_any_network_is_made_from_its_results():
    from benchmarks import any_network  # here: it imports timm

    rows, cams = any_network.read(), any_network.read(any_network.CAMS)
    assert any_network.TABLE.read_text(encoding="utf-8") == any_network.table(rows, cams)
    assert [(row["library"], row["module"], row["architecture"]) for row in rows] == list(any_network.networks())
    holding = Counter(row["library"] for row in rows if any_network.holds(row))
    assert holding["timm"] >= 95 and holding["torchvision"] >= 75
    assert len(cams) == 20 and all(min(row["rho at the layer"]) >= 0.999 for row in cams)
    assert np.median([row["speed"]["ratio"] for row in cams]) <= 1.03


def test_the_control_of_the_target_layer_says_how_far_apart_the_measured_maps_are():
    rows = {row["architecture"]: row for row in result("any_network_cams")}
    apart = {name: row["rho of the default"] for name, row in rows.items() if row["layer"].endswith("norm1")}
    [swin] = [apart.pop(name) for name in [*apart] if name.startswith("swin")]
    vits = [value for values in apart.values() for value in values]
    assert len(apart) == 2
    said = f"{min(vits):.2f} to {max(vits):.2f} in two ViTs and {min(swin):.2f} to {max(swin):.2f} in a Swin"
    assert said in widgets.INSIDE_A_BLOCK
    others = [value for row in rows.values() if not row["layer"].endswith("norm1") for value in row["rho of the default"]]
    assert min(others) >= 0.99


NETWORKS = {"resnet50": "ResNet-50", "efficientnet_lite0": "EfficientNet-Lite0"}
METHOD_WORDS = {"integrated_gradients": "integrated gradients", "smooth_grad": "SmoothGrad", "lime": "LIME", "rise": "RISE"}


def arithmetic(part):
    return result("arithmetic")["parts"][part]


def work(key):
    network, words = key.split(", ")
    return f"| {NETWORKS[network]}, {words} |"


def of_kind(operators, *words):
    return sum(share for name, share in operators.items() if any(word in name for word in words))


def test_shares_of_a_matrix_product_are_those_that_were_measured():
    product = arithmetic("methods")["product"]["gflops"]
    assert f"reaches {product:.0f} GFLOP/s per processor here" in SPEED
    for method, found in arithmetic("methods").items():
        assert found["share"] == pytest.approx(found["gflops"] / product)
        if method != "product":
            row = f"| {METHOD_WORDS.get(method, method)} | {found['gflops']:.0f} | {found['share']:.0%} |"
            assert row in SPEED


def test_where_the_time_goes_is_what_was_profiled():
    for method, words in (
        ("integrated_gradients", "Of the time of integrated gradients {} is spent in"),
        ("rise", "of RISE's {},"),
    ):
        operators = arithmetic("profile")[method]
        assert words.format(f"{of_kind(operators, 'conv'):.0%}") in SPEED
        assert f"{of_kind(operators, 'batch_norm'):.0%}" in SPEED
        assert f"{of_kind(operators, 'clamp_min', 'threshold_backward'):.0%}" in SPEED


def test_what_folding_saves_and_moves_is_what_was_measured():
    found = arithmetic("folding")
    for key, row in found.items():
        if key != "maps":
            saved = 1 - row["folded"] / row["plain"]
            assert f"{work(key)} {row['plain']:.1f} | {row['folded']:.1f} | {saved:.0%} |" in SPEED
    moved = found["maps"]
    assert f"of the {moved['pictures']} photographs move by at most {moved['logits']:.0e}" in SPEED
    gradients = ("saliency", "integrated_gradients", "smooth_grad")
    times = [moved[method]["difference"] / moved[f"{method}, one thread"]["difference"] for method in gradients]
    assert f"{min(times):.0f} to {max(times):.0f} times as far as the number of threads" in SPEED
    for method in ("saliency", *METHOD_WORDS):
        row, other = moved[method], moved[f"{method}, one thread"]
        name = METHOD_WORDS.get(method, method)
        said = f"| {name} | {row['rank correlation']:.5f} | {row['difference']:.1e} | {other['difference']:.1e} |"
        assert said in SPEED


def test_batches_formats_and_compiling_are_those_that_were_measured():
    for key, row in arithmetic("batches").items():
        assert " ".join([work(key), *(f"{row[count]:.1f} |" for count in ("1", "2", "5", "8", "16"))]) in SPEED
    rows = (arithmetic("batches")[f"{network}, gradient"] for network in NETWORKS)
    saved = [f"{1 - row['8'] / row['5']:.0%}" for row in rows]
    assert f"would save {saved[0]} (ResNet-50) and {saved[1]} (EfficientNet-Lite0)" in SPEED
    for key, row in arithmetic("formats").items():
        assert f"{work(key)} {row['contiguous']:.1f} | {row['channels last']:.1f} |" in SPEED
    for key, row in arithmetic("compile").items():
        assert f"{work(key)} {row['plain']:.1f} | {row['compiled']:.1f} | {row['first']:.0f} s |" in SPEED


DEPLOYMENT = " ".join((ROOT / "docs" / "deployment.md").read_text(encoding="utf-8").split())
ENGINE = result("engine")["parts"]
WORKS = {"classify": "predictions", "grad_cam": "Grad-CAM", "occlusion": "Occlusion, 441 positions"}
CPU_HOUR, MANY = 0.05, 64  # dollars; workers


def test_what_two_workers_of_ray_gain_is_what_was_measured():
    workers, processes = ENGINE["workers"], ENGINE["processes"]
    for part in (workers, processes):
        for name in ("seconds", "each"):
            assert part["efficiency"][name] == pytest.approx(part["one"][name] / (2 * part["two"][name]))
    start = workers["one"]["seconds"] - workers["pictures"] * workers["one"]["each"]
    gain, whole = workers["efficiency"]["each"], workers["efficiency"]["seconds"]
    assert f"did {gain:.2f} of twice what one did" in DEPLOYMENT and f"on {workers['pictures']} pictures" in DEPLOYMENT
    assert f"{whole:.2f} with the start of Ray and of the workers, which took {start:.0f} s" in DEPLOYMENT
    assert f"{processes['efficiency']['each']:.2f} ({processes['pictures']} pictures)" in DEPLOYMENT
    assert f"had a task in {workers['two']['at work']:.0%} of the time" in DEPLOYMENT


def test_time_and_cost_of_many_pictures_follow_from_the_measured_seconds():
    count, gain, of = result("engine")["imagenet"], ENGINE["workers"]["efficiency"]["each"], ENGINE["picture"]
    for network, title in (("efficientnet_lite0", "EfficientNet-Lite0"), ("resnet50", "ResNet-50")):
        for work, words in WORKS.items():
            opening = of[f"{network}, open"]["median"] if work == "classify" else 0  # maps were made of files
            seconds = of[f"{network}, {work}"]["median"] + opening
            hours = count * seconds / 3600
            told = f"{seconds:.3f} | {hours:,.0f} | {hours / MANY / gain:,.1f} | {hours * CPU_HOUR / gain:,.0f} |"
            assert f"| {title}, {words} | {told}" in DEPLOYMENT
    opening = of["efficientnet_lite0, open"]["median"]
    assert f"takes {opening * 1000:.1f} ms of a CPU a picture (of {of['bytes'] / 1000:.0f} kB)" in DEPLOYMENT
    assert f"1,000 pictures a second needs {1000 * opening:.0f} CPUs" in DEPLOYMENT


def test_a_large_metrics_run_takes_what_its_benchmark_took():
    run = result("large_metrics_run")
    taken = [(f"{seconds['first']:.1f}", f"{seconds['processor']:.1f}") for seconds in run["seconds"].values()]
    table = SPEED.partition(f"a made run of {run['rows']:,} measurements")[2].partition("Shown again")[0]
    assert re.findall(r"\| (\d+\.\d) \| (\d+\.\d) \|", table) == taken
    again = max(seconds["again"] for seconds in run["seconds"].values())
    assert f"Shown again, each takes at most {again:.2f} s" in SPEED and again < 0.2
    assert (
        f"The run adds {run['memory']['held MB']:.0f} MB to the server, {run['memory']['most MB']:.0f} MB at most" in SPEED
    )
    csv, parquet = run["downloads"]["CSV, gzip"], run["downloads"]["Parquet"]
    assert f"{csv['MB']:.0f} MB as zipped CSV, made in {csv['seconds']:.0f} s" in SPEED
    assert f"{parquet['MB']:.0f} MB as Parquet, in {parquet['seconds']:.0f} s" in SPEED
