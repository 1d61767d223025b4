"""What the tools of the app find of the causes planted in drawn worlds, and how often they are wrong where nothing is.

A part of `python -m benchmarks.world`. Every tool is a function (model, seed, pictures) -> figures of one seed; on the clean
network or the clean world, the same function gives the false alarms. To add a tool, add a line to TOOLS.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image

from xai_core.analysis import groups, sanity_check
from xai_core.attribution.catalog import METHODS
from xai_core.attribution.explain import explain, explain_methods
from xai_core.core.errors import XaiError
from xai_core.data.preprocessing import stack
from xai_core.data.world import planted as worlds
from xai_core.data.world.planted import MARKED, Picture, World, picture
from xai_core.data.world.scene import MARK, draw
from xai_core.explanation.clustering import FEWEST, cluster_maps
from xai_core.explanation.targets import ClassLogit
from xai_core.failures import head_repair
from xai_core.failures.causes import cause_test, random_regions
from xai_core.failures.error_groups import groups as tested_groups
from xai_core.failures.group_causes import FEWEST as FEWEST_ERRORS
from xai_core.failures.group_causes import group_cause
from xai_core.failures.group_repair import features_of, head_of, hidden_pairs
from xai_core.failures.head_edits import Head
from xai_core.failures.label_triage import triage
from xai_core.failures.relabelling import relabel_estimate
from xai_core.models.explainable import ExplainableModel
from xai_core.models.outputs import top_classes
from xai_core.models.random_init import untrained

BATCH, PERMUTATIONS = 128, 200
FIRST = 50  # errors whose labels are looked at
METHOD = "hires_cam"  # of the clusters, as on the page
CHECKED: dict[str, dict[str, object]] = {
    name: {} for name in ("grad_cam", "hires_cam", "saliency", "guided_backprop", "integrated_gradients", "edge_detector")
}
SANITY_PICTURES = 5  # of each seed
RANDOM_REGIONS, OTHER_SEED = 3, 1  # of each seed; other draws than those of the test's controls
OFFERED = ("background", "time", "colour", "size", "mirrored", "occluded", "distractors")  # attributes that tell no cause
Figures = dict[str, float]


def answers(model: ExplainableModel, pictures: Sequence[Picture]) -> Iterator[tuple[str, float, NDArray[np.float32]]]:
    """The model's class for each picture, its probability, and the picture's features (d,)."""
    for start in range(0, len(pictures), BATCH):
        images = [Image.fromarray(draw(one.scene)[0]) for one in pictures[start : start + BATCH]]
        with torch.inference_mode():
            outputs = model.outputs(stack([model.prepare(image) for image in images], model.device))
            logits, features = outputs.logits, outputs.features.cpu().numpy()
        best = top_classes(logits)[:, 0]
        shares = logits.softmax(1).gather(1, best[:, None])[:, 0]
        yield from zip(map(model.class_name, best.tolist()), shares.tolist(), features, strict=True)


def predicted(model: ExplainableModel, pictures: Sequence[Picture]) -> pd.DataFrame:
    """A row for each picture: `true` (its label), `predicted`, `confidence`, `label is wrong`, `planted` (it is of the
    planted subgroup), `mark`, `features`, `right label` (what it shows), and the attributes of OFFERED."""
    names, confidences, features = zip(*answers(model, pictures), strict=True)
    columns = {name: [one.columns[name] for one in pictures] for name in (*OFFERED, "mark")}
    return pd.DataFrame(
        {"true": [one.label for one in pictures], "predicted": names, "confidence": confidences, "features": features,
         "label is wrong": [one.label not in one.truth for one in pictures],
         "right label": [one.truth[0] for one in pictures],
         "planted": [bool(one.columns["subgroup"]) for one in pictures], **columns}
    )  # fmt: skip


def mark_cluster(model: ExplainableModel, rows: pd.DataFrame, pictures: Sequence[Picture]) -> Figures:
    """Clusters of the maps of what is predicted as the marked class: is the mark a cluster of its own?"""
    places = np.flatnonzero(rows["predicted"] == MARKED).tolist()
    marks = rows["mark"].to_numpy(bool)[places]
    if len(places) < FEWEST or not 0 < marks.sum() < len(marks):
        return {}
    index = model.class_index(MARKED)
    maps = [
        explain(model, Image.fromarray(draw(pictures[place].scene)[0]), METHOD, target=ClassLogit((index,))).heatmap
        for place in places
    ]
    labels = cluster_maps(maps).labels
    best, purity, recall = best_cluster(labels, marks)
    draws = np.random.default_rng(0)
    chance = [f_score(*best_cluster(labels, draws.permutation(marks))[1:]) for _ in range(PERMUTATIONS)]
    return {
        "marked among all": float(marks.mean()), "purity": purity, "recall": recall, "rank": best + 1.0,
        "clusters": labels.max() + 1.0, "found": float(f_score(purity, recall) > np.quantile(chance, 0.95)),
    }  # fmt: skip


def best_cluster(labels: NDArray[np.int64], marks: NDArray[np.bool_]) -> tuple[int, float, float]:
    """The cluster that fits the marked pictures best (by the F score), its share of marked ones, and its share of all marked
    ones."""
    fits = []
    for cluster in range(labels.max() + 1):
        inside = labels == cluster
        purity, recall = float(marks[inside].mean()), float(inside[marks].mean())
        fits.append((f_score(purity, recall), cluster, purity, recall))
    _, cluster, purity, recall = max(fits, key=lambda fit: (fit[0], -fit[1]))
    return cluster, purity, recall


def f_score(purity: float, recall: float) -> float:
    return 2 * purity * recall / (purity + recall) if purity + recall else 0.0


def label_triage(model: ExplainableModel, rows: pd.DataFrame, pictures: Sequence[Picture]) -> Figures:
    """Errors, the most confident first: how many of the first FIRST have a wrong label?"""
    errors = rows[rows["true"] != rows["predicted"]].sort_values("confidence", ascending=False, kind="stable")
    first = errors.head(FIRST)
    if not len(first):
        return {"errors": 0.0}
    wrong = errors["label is wrong"]
    return {
        "wrong labels among all": float(rows["label is wrong"].mean()), "errors": float(len(errors)),
        "looked at": float(len(first)), "precision": float(wrong.head(FIRST).mean()),
        "precision of all errors": float(wrong.mean()),
    }  # fmt: skip


def probe_triage(model: ExplainableModel, rows: pd.DataFrame, pictures: Sequence[Picture]) -> Figures:
    """Labels flagged by a probe on the features and by the nearest neighbours: how many of the first FIRST are wrong, and
    how many flags of all, beside how many the triage expects?"""
    result = triage(np.stack(rows["features"].to_list()), rows["true"].to_list())
    places = result.flags["picture"].to_numpy()
    wrong = rows["label is wrong"].to_numpy(bool)
    figures = {
        "wrong labels among all": float(wrong.mean()), "flags": float(len(places)),
        "looked at": float(min(len(places), FIRST)), "wrong flags": float((~wrong[places]).sum()),
        "wrong flags, as expected by the triage": result.expected_wrong_flags,
        "near duplicates with different labels": float(len(result.duplicates)),
        "outliers": float(result.pictures["outlier"].sum()),
    }  # fmt: skip
    if len(places):
        figures |= {"precision": float(wrong[places][:FIRST].mean()), "precision of all flags": float(wrong[places].mean())}
    if wrong.any():
        figures["share of the wrong labels that is flagged"] = float(wrong[places].sum() / wrong.sum())
    return figures


def relabelling(model: ExplainableModel, rows: pd.DataFrame, pictures: Sequence[Picture]) -> Figures:
    """The network's accuracy against the labels as they are, against the suggested ones, as expected on right labels, and
    on the right labels; whether the interval of the estimated change holds the true one; and the share of wrong labels
    before and after."""
    judgement = triage(np.stack(rows["features"].to_list()), rows["true"].to_list())
    estimate = relabel_estimate(rows["predicted"].tolist(), judgement)
    flagged = judgement.pictures["flagged"].to_numpy(bool)
    after = np.where(flagged, judgement.pictures["suggested"], rows["true"])
    true = float((rows["predicted"] == rows["right label"]).mean())
    held = estimate.low <= true - estimate.accuracy_before <= estimate.high
    return {
        "accuracy against the labels, %": 100 * estimate.accuracy_before,
        "accuracy against the suggested labels, %": 100 * estimate.accuracy_after,
        "accuracy expected on right labels, %": 100 * estimate.expected, "accuracy on right labels, %": 100 * true,
        "the interval of the change holds the true one": float(held),
        "wrong labels, %": 100 * float((rows["true"] != rows["right label"]).mean()),
        "wrong labels with the suggestions taken, %": 100 * float((after != rows["right label"]).mean()),
    }  # fmt: skip


def error_groups(model: ExplainableModel, rows: pd.DataFrame, pictures: Sequence[Picture]) -> Figures:
    """Groups of one attribute, then of two, the one whose interval of the error rate begins highest first: at which place
    comes the first one most of whose errors are of the planted subgroup; and the share of groups whose interval lies wholly
    above the error rate of all pictures."""
    wrong = rows["true"] != rows["predicted"]
    figures: Figures = {}
    for words, count in (("one attribute", 1), ("two attributes", 2)):
        tables = []
        for names in itertools.combinations((*OFFERED, "true"), count):
            values = groups.values_of(rows[names[0]]).astype(str)
            for name in names[1:]:
                values = values + ", " + groups.values_of(rows[name]).astype(str)
            rates = groups.error_rates(rows, values)
            tables.append(rates.assign(planted=rates["value"].map((wrong & rows["planted"]).groupby(values).sum())))
        ranked = pd.concat(tables).sort_values(["low", "error rate"], ascending=False, kind="stable", ignore_index=True)
        figures[f"{words}: groups"] = float(len(ranked))
        figures[f"{words}: share above the rate of all"] = float((ranked["low"] > wrong.mean()).mean())
        if rows["planted"].any():
            hits = np.flatnonzero((ranked["planted"] > 0.5 * ranked["errors"]) & (ranked["errors"] > 0))
            if len(hits):
                figures[f"{words}: rank"] = hits[0] + 1.0
            figures[f"{words}: found"] = float(len(hits) > 0 and hits[0] < 3)
    return figures


def confirmed_groups(model: ExplainableModel, rows: pd.DataFrame, pictures: Sequence[Picture]) -> Figures:
    """Groups of errors by the attributes and the network's features: at which place comes the first one most of whose errors
    bear the stamp, and the first most of whose errors are of the planted subgroup, and is it confirmed? And how many groups
    are tested and confirmed: as they are, without regard to the confidence, and where the labels change places."""
    known, features = rows[list(OFFERED)], np.stack(rows["features"].to_list())
    result = tested_groups(rows, known, features)
    figures = {"groups tested": float(len(result.table)), "confirmed": float(len(result.confirmed))}
    plain = tested_groups(rows.drop(columns="confidence"), known, features)
    figures["confirmed, without regard to the confidence"] = float(len(plain.confirmed))
    wrong = (rows["true"] != rows["predicted"]).to_numpy(bool)
    planted = {name: rows[column].to_numpy(bool) for name, column in (("the stamp", "mark"), ("red dome tents", "planted"))}
    if not any(marked.any() for marked in planted.values()):
        mixed = tested_groups(rows.assign(true=np.random.default_rng(0).permutation(rows["true"])), known, features)
        return figures | {
            "labels at random: groups tested": float(len(mixed.table)),
            "labels at random: confirmed": float(len(mixed.confirmed)),
        }
    for name, marked in planted.items():
        hits = [(wrong & marked)[members].sum() > 0.5 * wrong[members].sum() for members in result.members]
        if any(hits):
            figures[f"{name}: rank"] = hits.index(True) + 1.0
        found = any(hits) and hits.index(True) < 3 and bool(result.table["confirmed"][hits.index(True)])
        figures[f"{name}: among the first three, and confirmed"] = float(found)
    return figures


def cause(model: ExplainableModel, rows: pd.DataFrame, pictures: Sequence[Picture]) -> Figures:
    """The cause test on the errors that are predicted as the class most often predicted wrongly (on all errors, where these
    are too few): what the region of one half's maps mends in the other half; whether it is called a cause; how much of the
    stamp it covers; and how many random regions of its shape, tested in its place, are called a cause."""
    wrong = rows["true"] != rows["predicted"]
    if not wrong.any():
        return {"errors": 0.0}
    same = wrong & (rows["predicted"] == rows.loc[wrong, "predicted"].mode()[0])
    places = np.flatnonzero(same if same.sum() >= 2 * FEWEST_ERRORS else wrong)
    drawn = [draw(pictures[place].scene) for place in places]
    images = [model.prepare(Image.fromarray(pixels)).pixels for pixels, _ in drawn]
    true = rows["true"].iloc[places].tolist()
    result = group_cause(model, images, true)
    figures = {"errors": float(len(places))}
    if result.test is None or result.regions is None:
        return figures | {"named a cause": 0.0}
    figures |= {"errors tested": float(len(result.tested)), "named a cause": float(result.test.causes)}
    for row in result.test.effects.itertuples():
        figures[f"errors mended: {row.hidden}, {row.hiding}"] = float(row.mended)
    region = result.regions[0]
    stamps = [masks[MARK] > 0.5 for _, masks in (drawn[place] for place in result.tested) if MARK in masks]
    if stamps:
        figures["share of the stamp in the region"] = float(np.mean([region.numpy()[stamp].mean() for stamp in stamps]))
    tested = [images[place] for place in result.tested]
    others = random_regions(region, RANDOM_REGIONS, OTHER_SEED)
    named = [cause_test(model, tested, [true[place] for place in result.tested], one).causes for one in others]
    return figures | {"random regions named a cause": float(np.mean(named))}


def sanity(model: ExplainableModel, rows: pd.DataFrame, pictures: Sequence[Picture]) -> Figures:
    """The share of maps that hardly change when the weights are randomised, and when another class is explained; of methods
    that depend on the weights, and of the edge detector, which does not."""
    twin = untrained(model, 0)
    unchanged: dict[str, list[bool]] = {}
    for one in pictures[:SANITY_PICTURES]:
        image = Image.fromarray(draw(one.scene)[0])
        target = ClassLogit((model.class_index(one.label),))
        maps = dict(explain_methods(model, image, CHECKED, target=target))
        changed = sanity_check.changes(model, target, twin)
        for name, values in sanity_check.sanity(maps, image, changed):
            for change, rho in values.items():
                if not isinstance(rho, XaiError):
                    figure = f"{change.replace('_', ' ')}: {METHODS[name].title}"
                    unchanged.setdefault(figure, []).append(abs(rho) > sanity_check.HARDLY_CHANGED)
    return {figure: float(np.mean(values)) for figure, values in sorted(unchanged.items())}


def head_edit(model: ExplainableModel, seed: int, count: int) -> Figures:
    """The head repaired for pictures wrongly predicted as the marked class. The pictures are drawn twice, as the planted
    world has them and with the mark on other things; the region is suggested by maps and hidden, so that the truth is not
    used.

    On the held-out half: what the mark costs (points of accuracy), the share that the edit wins back, and the change of the
    accuracy on the same pictures without a mark, and as planted, where the mark is on cars alone.
    """
    world = worlds.planted()
    planted, broken = (
        [picture(one, seed, "test", index) for index in range(count)] for one in (world, worlds.broken(world, "mark"))
    )
    bare = _drawn_features(model, [replace(one, scene=replace(one.scene, mark=False)) for one in planted])
    marked = [bool(one.columns["mark"] or other.columns["mark"]) for one, other in zip(planted, broken, strict=True)]
    with_mark = bare.copy()
    with_mark[marked] = _drawn_features(
        model,
        [
            replace(one, scene=replace(one.scene, mark=True))
            for one, is_marked in zip(planted, marked, strict=True)
            if is_marked
        ],
    )
    usual, moved = (
        np.where(np.array([[bool(one.columns["mark"])] for one in some]), with_mark, bare) for some in (planted, broken)
    )
    true, labels = ([model.class_index(name) for name in names] for names in
                    ([one.truth[0] for one in planted], [one.label for one in planted]))  # fmt: skip
    first, second = np.split(np.random.default_rng(seed).permutation(count), [count // 2])
    head, index = head_of(model), model.class_index(MARKED)
    answered = head.predicted(moved)
    group = [int(place) for place in first if answered[place] == index != labels[place]]
    images = [Image.fromarray(draw(broken[place].scene)[0]) for place in group]
    pairs = hidden_pairs(model, images, [index] * len(group)) if len(group) >= head_repair.FEWEST else []
    after = head
    if pairs:
        present, absent = (features_of(model, images) for images in zip(*pairs, strict=True))
        after = head_repair.repair(
            head, np.concatenate([usual, moved]), [*labels, *labels], present, absent, model.class_names,
            places=np.array(group) + count, both_halves=(np.append(first, first + count), np.append(second, second + count)),
        ).head  # fmt: skip

    def points(one: Head, features: NDArray[np.float64]) -> float:
        return 100 * float((one.predicted(features[second]) == np.array(true)[second]).mean())

    cost, gain = points(head, bare) - points(head, moved), points(after, moved) - points(head, moved)
    figures = {"edited": float(after is not head), "cost of the mark": cost, "change where the mark is moved": gain,
               "change without a mark": points(after, bare) - points(head, bare),
               "change as planted": points(after, usual) - points(head, usual)}  # fmt: skip
    return figures | ({"share won back": gain / cost} if cost > 5 else {})


def _drawn_features(model: ExplainableModel, pictures: Sequence[Picture]) -> NDArray[np.float64]:
    return np.stack([features for *_, features in answers(model, pictures)]).astype(np.float64)


class Case(NamedTuple):
    """A network before a split of a world; `pictures` of it, if not as many as usual."""

    network: str
    world: str
    split: str
    pictures: int | None = None


class Tool(NamedTuple):
    """One tool: where the cause is planted, and where there is none."""

    title: str
    run: Callable[[ExplainableModel, pd.DataFrame, Sequence[Picture]], Figures]
    planted: Case
    clean: Case


NOISY = Case("world_planted", "planted", "train", 2_000)  # 80 wrong labels, so that 50 can be found
PLANTED, CLEAN = Case("world_planted", "planted", "test"), Case("world_clean", "clean", "test")
REVERSED = Case("world_planted", "planted:mark", "test", 300)
MANY = Case("world_clean", "clean", "test", 1_000)
BOTH = Case("world_planted", "planted:mark:subgroup", "test")
TOOLS = (
    Tool("Clusters of maps: the mark", mark_cluster, PLANTED, Case("world_clean", "planted", "test")),
    Tool("Label triage: errors, the most confident first", label_triage, NOISY, CLEAN),
    Tool("Label triage: a probe and the nearest neighbours", probe_triage, NOISY, CLEAN),
    Tool("Relabelling: the flagged labels as suggested", relabelling, NOISY, CLEAN),
    Tool("Groups of errors: red dome tents at night", error_groups, PLANTED, CLEAN),
    Tool("Tested groups: the stamp, red dome tents", confirmed_groups, BOTH, MANY),
    Tool("Cause test: the stamp", cause, REVERSED, CLEAN),
    Tool("Sanity check: maps that hardly change", sanity, PLANTED, CLEAN),
)
WORLDS: dict[str, Callable[[], World]] = {
    "planted": worlds.planted, "clean": worlds.clean, "planted:mark": lambda: worlds.broken(worlds.planted(), "mark"),
    "planted:mark:subgroup": lambda: worlds.broken(worlds.broken(worlds.planted(), "mark"), "subgroup"),
}  # fmt: skip


Line = dict[str, Any]  # of the results, as JSON


def measured(
    load: Callable[[str], ExplainableModel], seeds: Sequence[int], count: int, tools: Sequence[Tool] = TOOLS
) -> list[Line]:
    """The figures of the tools, seed by seed, where its cause is planted and where it is not."""
    cases: dict[Case, dict[int, tuple[pd.DataFrame, list[Picture]]]] = {}
    lines: list[Line] = []
    for tool in tools:
        for where, case in (("planted", tool.planted), ("clean", tool.clean)):
            model = load(case.network)
            for seed in seeds:
                if seed not in cases.setdefault(case, {}):
                    number = case.pictures or count
                    pictures = [picture(WORLDS[case.world](), seed, case.split, index) for index in range(number)]
                    cases[case][seed] = predicted(model, pictures), pictures
                figures = tool.run(model, *cases[case][seed])
                place = {**case._asdict(), "pictures": case.pictures or count}
                lines.append({"tool": tool.title, "where": where, **place, "seed": seed, "figures": figures})
    return lines


HEAD_EDIT = "Edit of the head: the mark"  # its pictures are drawn in pairs, so that it is no Tool


def head_edits(load: Callable[[str], ExplainableModel], seeds: Sequence[int], count: int) -> list[Line]:
    """The figures of `head_edit` for the network with the shortcut, and for the one that never saw the mark."""
    place = {"world": "planted", "split": "test", "pictures": count}
    return [
        {"tool": HEAD_EDIT, "where": where, "network": network, **place, "seed": seed,
         "figures": head_edit(load(network), seed, count)}
        for where, network in (("planted", PLANTED.network), ("clean", CLEAN.network))
        for seed in seeds
    ]  # fmt: skip


def merged(kept: Sequence[Line], measured: Sequence[Line]) -> list[Line]:
    """The measured lines, and those of `kept` that are of other tools; in the order of TOOLS, edits of the head last."""
    new = {line["tool"] for line in measured}
    order = [*(tool.title for tool in TOOLS), HEAD_EDIT]
    lines = [*(line for line in kept if line["tool"] not in new and line["tool"] in order), *measured]
    return sorted(lines, key=lambda line: order.index(line["tool"]))


def summary(lines: Sequence[Line]) -> list[Line]:
    """For each tool, place and figure: the mean over the seeds that have it, the lowest, the highest, and their number."""
    keys = ["tool", "where", "network", "world", "split"]
    table = pd.DataFrame(
        {**{key: line[key] for key in keys}, "figure": name, "value": value}
        for line in lines
        for name, value in line["figures"].items()
    )
    rows = table.groupby([*keys, "figure"], sort=False)["value"].agg(["mean", "min", "max", "count"]).reset_index()
    return [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]


HEAD = """# What the tools find where the causes are planted

Written by `python -m benchmarks.world`; do not edit. Each figure is a mean over {seeds} drawn worlds ({count} pictures of a
split each), with the lowest and the highest of them. *Planted*: the network and the pictures with the cause. *Clean*: where
there is nothing to find, so that what is found there is a false alarm.

- **Clusters** of HiResCAM maps of all pictures predicted as cars. *Purity*: the share of marked pictures in the cluster that
  fits the mark best, beside their share among all; *recall*: the share of the marked pictures that it holds; *rank*: its
  place, by size; *found*: it fits better than the best cluster does when the marks are dealt out at random (95 % of 200
  draws). Clean: the network that never saw the mark while training, on the same pictures.
- **Label triage** on a training split of {noisy:,} pictures, about 80 of them with a wrong label (of 600, about 24 have one,
  and no order could bring 50 of them first). Once by the network's errors, the most confident first; once by
  `xai_core.failures.triage`: a probe on the network's features, joined with the nearest neighbours. *Precision*:
  the share of wrong labels among the first 50 (or all, where there are fewer). A flag is *wrong* where the label is right.
  The network was trained on world 0, and its wrong labels; it has not seen the other worlds. Clean: all labels are right,
  and there are {count} pictures. Near duplicates and outliers are planted in neither.
- **Relabelling**, on the same pictures (`xai_core.failures.relabel_estimate`): the network's accuracy against the labels as
  they are, against the same with every flagged label as suggested, as it is expected on right labels (each label counted
  by the probability that it is wrong), and on the right labels, which are what a picture shows (of two things, the first).
  The interval is that of the change from the first to the second, at 95 %.
- **Groups** by one attribute and by two, ordered by the lower end of the interval of their error rate. *Rank*: the place of
  the first group most of whose errors are red dome tents at night; *found*: among the first three. The intervals are of one
  group alone: among hundreds of groups some lie above the rate of all pictures by chance.
- **Tested groups** (`xai_core.failures.groups`), by the same attributes and the network's features: found on one half of
  the pictures, tested on the other against pictures of which the network is as sure. Planted: the stamp is on distant
  things that are no cars, and half of the tents are red dome tents at night. *Rank*: the place of the first group most of
  whose errors bear the stamp, or are such tents. *Without regard to the confidence*: tested against all other pictures
  (Fisher's exact test). Clean: {clean:,} pictures; *labels at random*: the same, and their labels have changed places.
- **Cause test** of the errors that are predicted as the class most often predicted wrongly (clean: of all errors), by
  `xai_core.failures.group_cause`: the maps of one half suggest a region, which is hidden in the other half. Planted:
  {reversed} pictures on which the stamp stands on distant things that are no cars, so that they are taken for cars. *Named a
  cause*: by every way of hiding. *Random*: the mean over the random regions of the test, *rest*: all but the region.
  *Random regions named a cause*: of {random} that are tested in the region's place. The method (Refine-CAM) and the size of
  the region were chosen on seeds 100 to 103.
- **Sanity check**: the share of maps that hardly change (rank correlation above 0.8) when the weights are randomised, and
  when another class is explained; {sanity} pictures of each world. The edge detector depends on neither and must be caught.
- **Edit of the head** (`xai_core.failures.repair`). The pictures are drawn as planted, and with the mark on other things;
  one half of both chooses the edit. Maps of its pictures wrongly predicted as cars suggest a region; hiding it shows what
  the head reads there, without the truth. On the other half: *cost*, in points of accuracy, of the mark where it is moved;
  the share of it that the edit wins back; and what it changes on the same pictures without any mark, and as planted, where
  the mark is on cars alone and is right about them. Settings were chosen on worlds 20 to 24. Clean: the network that never
  saw the mark while training.

| tool | figure | planted | clean |
|---|---|---|---|
"""


def document(rows: Sequence[Line], seeds: int, count: int) -> str:
    """The summary as a page."""
    places: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        fewer = f", {row['count']} worlds" if row["count"] < seeds else ""
        words = f"{row['mean']:.2f} ({row['min']:.2f} to {row['max']:.2f}{fewer})"
        places.setdefault((row["tool"], row["figure"]), {})[row["where"]] = words
    lines = [
        f"| {tool} | {figure} | {cells.get('planted', '–')} | {cells.get('clean', '–')} |"
        for (tool, figure), cells in places.items()
    ]
    return (
        HEAD.format(
            seeds=seeds,
            count=count,
            noisy=NOISY.pictures,
            reversed=REVERSED.pictures,
            clean=MANY.pictures,
            random=RANDOM_REGIONS,
            sanity=SANITY_PICTURES,
        )
        + "\n".join(lines)
        + "\n"
    )
