"""The tab 'One image' of the page of metrics: what is measured, and the measuring."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from xai_core.app.metrics import evidence_region, image_results
from xai_core.app.shared import cache, display, explanations, network_outputs, progress, session, turns, widgets
from xai_core.app.shared.widgets import LINK, Chosen
from xai_core.core.cache_key import bytes_digest
from xai_core.core.errors import XaiError
from xai_core.core.options import options_of
from xai_core.explanation.request import Request, joint_key
from xai_core.explanation.result import Explanation
from xai_core.explanation.targets import Target
from xai_core.metrics.catalog import METRICS, QUICK
from xai_core.metrics.measure import CONTROLS, Measurement, measure_all, total_passes
from xai_core.metrics.self_test import Verdict, self_test, self_test_passes
from xai_core.models.explainable import ExplainableModel

DEFAULT_METRICS = [name for name in QUICK if "box" not in METRICS[name].needs]
BOX_METRIC = "energy_pointing_game"


class Asked(NamedTuple):
    """Everything that a measurement of this page depends on, beside the map."""

    model: ExplainableModel
    chosen: Chosen
    target: Target
    metrics: dict[str, dict[str, Any]]
    box: tuple[float, ...] | None
    seed: int


Found = Mapping[tuple[str, str], Measurement]


def page(by_link: bool) -> None:
    """The whole tab."""
    say = st.container()
    with st.sidebar:
        chosen = widgets.picture(say)
        model = widgets.model(say)
    if chosen is None:
        return
    ranked = network_outputs.ranked(model, model.prepare(chosen.picture))
    with st.sidebar:
        target = widgets.question(model, ranked, chosen.true_class, say)
        names = widgets.methods(model)
        metrics, seed = _metrics()
        where = evidence_region.asked()
    if target is None:
        return
    if not names or not (metrics or where != evidence_region.UNKNOWN):
        st.info("Choose at least one method and one metric on the left.")
        return
    st.markdown(f"#### Measuring maps of the {target.label(0, model.class_name)}")
    chosen, box = evidence_region.placed(where, model, chosen, target, metrics)
    if box is not None and not any("box" in METRICS[name].needs for name in metrics):
        metrics[BOX_METRIC] = {}
    asked = Asked(model, chosen, target, metrics, box, seed)
    runs = explanations.requests(model, model.prepare(chosen.picture), target, names)
    slot = st.empty()
    shown = _shown(runs, chosen, slot)
    found = _measured(asked, runs, by_link)
    for run in runs:
        if isinstance(explanations.find(run), XaiError):
            st.error(f"{widgets.method_title(run.method)}: {explanations.find(run)}")
    maps = _known(runs)
    if len(maps) > shown:
        image_results.tiles(maps, chosen, slot)
    if found:
        image_results.results(asked, maps, found, _verdicts(asked))
        _self_test(asked)
        image_results.curves(asked, maps, found)
        image_results.downloads(asked, found)


def _known(runs: Sequence[Request]) -> dict[str, Explanation]:
    return {run.method: explanations.find(run) for run in runs if isinstance(explanations.find(run), Explanation)}


def _shown(runs: Sequence[Request], chosen: Chosen, slot: DeltaGenerator) -> int:
    """Show the maps that are to be measured, in `slot`, made now where that is quick; how many there are. The others come
    with the measuring."""
    name = joint_key("measured", runs)
    quick = [
        run
        for run in runs
        if explanations.find(run) is None and explanations.estimate(run) < progress.AT_ONCE_SECONDS / len(runs)
    ]
    list(explanations.compute_each(quick, name, not session.cancelled(name), slot))
    maps = _known(runs)
    image_results.tiles(maps, chosen, slot)
    return len(maps)


def _metrics() -> tuple[dict[str, dict[str, Any]], int]:
    """The metrics with their options, and the seed of what is random in them."""
    names = st.multiselect(
        "Metrics", list(METRICS), DEFAULT_METRICS, format_func=image_results.plain_title, key="metrics", **LINK
    )
    metrics = {name: {} for name in names}
    with st.expander("Options of the metrics"):
        seed = st.number_input(
            "Seed", 0, 2**31 - 1, 0, key="seed", help="Of ties between equal pixels, noise and random sets.", **LINK
        )
        for name in names:
            options = options_of(METRICS[name].run)
            if options:
                st.markdown(f"**{METRICS[name].title}**")
            metrics[name] = {option.name: widgets.control(name, option) for option in options}
    return metrics, int(seed)


def _key(asked: Asked, of: str, metric: str) -> str:
    """The name of one measurement: equal exactly where everything that went in was equal."""
    box = asked.box if "box" in METRICS[metric].needs else None
    options = sorted(asked.metrics[metric].items())
    parts = (of, metric, METRICS[metric].version, options, box, asked.seed)
    return f"measured {bytes_digest(json.dumps(parts).encode())}"


def _of(asked: Asked, name: str, runs: Sequence[Request]) -> str:
    """What names a map: a method's run key, or for a control the picture and the question."""
    for run in runs:
        if run.method == name:
            return run.key
    prepared = asked.model.prepare(asked.chosen.picture)
    return f"{name} {asked.model.id} {asked.model.fingerprint} {prepared.digest} {asked.target.key(0)}"


def _measured(asked: Asked, runs: Sequence[Request], by_link: bool) -> dict[tuple[str, str], Measurement]:
    """What is known, after measuring what is not, where that was wanted."""
    names = [*CONTROLS, *(run.method for run in runs if not isinstance(explanations.find(run), XaiError))]
    keys = {(name, metric): _key(asked, _of(asked, name, runs), metric) for name in names for metric in asked.metrics}
    missing = {pair for pair, key in keys.items() if cache.get(key) is None}
    wanted = {metric: options for metric, options in asked.metrics.items() if any(m == metric for _, m in missing)}
    unmeasured = [run for run in runs if any(name == run.method for name, _ in missing)]
    controls = any(name in CONTROLS for name, _ in missing)
    passes = total_passes(wanted, {run.method: run.options for run in unmeasured}, controls) if wanted else 0
    seconds = passes * network_outputs.pass_seconds(asked.model.id)
    seconds += explanations.missing_seconds(runs)
    name = f"measuring {bytes_digest(' '.join(keys.values()).encode())[:12]}"
    now = progress.should_start(name, seconds if missing else 0, at_once=by_link, button="Measure")
    slot = st.empty()
    if missing and not now:
        st.caption(
            f"{passes:,} passes through the network, for {len(asked.metrics)} metrics of {len(runs)} maps and of "
            f"{len(CONTROLS)} controls: maps that know nothing of the network."
        )
    if missing and now:
        _measure(asked, runs, wanted, missing, keys, name, slot)
    known = {pair: cache.get(key) for pair, key in keys.items()}
    return _beside_controls(asked, {pair: one for pair, one in known.items() if one is not None})


def _measure(asked: Asked, runs, wanted, missing, keys, name: str, slot) -> None:
    """Make the maps, then measure what is missing; every measurement is kept as it is ready."""
    controls = any((name, metric) in missing for name in CONTROLS for metric in wanted)
    how = {"target": asked.target, "box": asked.box, "seed": asked.seed, "controls": controls}
    maps = {}

    def work(track) -> None:
        rows = measure_all(asked.model, asked.chosen.picture, maps, wanted, track=track, **how)
        for of, metric, one in rows:
            cache.put(keys[of, metric], replace(one, controls={}))

    with progress.bar(name, slot) as bar:
        for run in runs:
            result = explanations.find(run) or explanations.compute(run, bar)
            if isinstance(result, Explanation) and any((run.method, metric) in missing for metric in wanted):
                maps[run.method] = result
        turns.in_turn(work, bar, "Measuring")


def _beside_controls(asked: Asked, known: dict[tuple[str, str], Measurement]) -> dict[tuple[str, str], Measurement]:
    found = {}
    for (name, metric), one in known.items():
        beside = {control: known[control, metric].value for control in CONTROLS if (control, metric) in known}
        found[name, metric] = one if name in CONTROLS else replace(one, controls=beside)
    return found


def _verdict_key(asked: Asked, metric: str) -> str:
    return _key(asked, _of(asked, "self-test", []), metric)


def _verdicts(asked: Asked) -> dict[str, Verdict]:
    """What the self-test said of each metric, where it was made."""
    held = {metric: cache.get(_verdict_key(asked, metric)) for metric in asked.metrics}
    return {metric: one for metric, one in held.items() if one is not None}


def _self_test(asked: Asked) -> None:
    """The test of the metrics that were not tested yet, offered with its price."""
    missing = {name: options for name, options in asked.metrics.items() if cache.get(_verdict_key(asked, name)) is None}
    if not missing:
        return
    st.markdown("##### Can these metrics be trusted here?")
    st.caption(
        "The self-test puts this very network behind a first stage that blanks all but one quadrant of this picture: then "
        "the true map is known, and a metric must rank it above maps that are not true."
    )
    passes = self_test_passes(missing)
    seconds = passes * network_outputs.pass_seconds(asked.model.id)
    name = f"self-test {_verdict_key(asked, next(iter(missing)))}"
    if not progress.should_start(name, max(seconds, progress.AT_ONCE_SECONDS), button="Self-test"):
        st.caption(f"At most {passes:,} passes.")
        return
    with display.errors(), progress.bar(name) as bar:

        def work(track) -> None:
            found = self_test(asked.model, asked.chosen.picture, missing, asked.target, seed=asked.seed, track=track)
            for verdict in found:
                cache.put(_verdict_key(asked, verdict.metric), verdict)

        turns.in_turn(work, bar, "Self-test")
    st.rerun()
