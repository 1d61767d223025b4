"""The tab "One image" of the metrics page: what is measured, the measuring, and the self-test of the metrics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from xai_core.app.metrics import evidence_region, image_results
from xai_core.app.metrics.measurement_settings import MeasurementSettings
from xai_core.app.shared import (
    cache,
    explanations,
    metric_choice,
    network_outputs,
    page_links,
    page_work,
    progress,
    session,
    variant_form,
    widgets,
)
from xai_core.app.shared.error_text import error_text
from xai_core.app.shared.explanations import name_of
from xai_core.app.shared.page_work import PageWork, Part
from xai_core.app.shared.widgets import Chosen
from xai_core.attribution.estimates import forward_passes
from xai_core.core import markdown
from xai_core.core.errors import XaiError
from xai_core.core.runtime import Track
from xai_core.explanation.request import Request, joint_key
from xai_core.explanation.result import Explanation
from xai_core.metrics.catalog import METRICS, QUICK
from xai_core.metrics.measure import CONTROLS, Measurement, measure_all, total_cost
from xai_core.metrics.self_test import Verdict, self_test, self_test_passes

DEFAULT_METRICS = [name for name in QUICK if "box" not in METRICS[name].needs]
DRAWN_METRICS = [name for name, metric in METRICS.items() if metric.needs == {"scene"}]
BOX_METRIC = "energy_pointing_game"
SELF_TEST = "self-test"


def page() -> None:
    """The whole tab."""
    messages = st.container()
    with st.sidebar:
        chosen = widgets.picture(messages)
        model = widgets.model(messages)
    if chosen is None:
        return
    ranked = network_outputs.ranked(model, model.prepare(chosen.picture))
    with st.sidebar:
        target = widgets.question(model, ranked, chosen, messages)
        names = variant_form.methods(model)
        metrics, seed = metric_choice.choose([*DRAWN_METRICS, *DEFAULT_METRICS] if chosen.scene else DEFAULT_METRICS)
        region = evidence_region.choose()
    if target is None:
        return
    if not names or not (metrics or region != evidence_region.UNKNOWN):
        st.info("Choose at least one method and one metric on the left.")
        return
    st.markdown(f"#### Measuring maps of the {markdown.escape(target.label(0, model.class_name))}")
    chosen, box = evidence_region.place(region, model, chosen, target, metrics)
    if box is not None and not any("box" in METRICS[name].needs for name in metrics):
        metrics[BOX_METRIC] = {}
    settings = MeasurementSettings(model, chosen, target, metrics, box, seed)
    requests = explanations.requests(model, model.prepare(chosen.picture), target, names)
    slot = st.empty()
    count = _show_maps(requests, chosen, slot)
    measurements = _measurements(settings, requests)
    for request in requests:
        error = explanations.find(request)
        if isinstance(error, XaiError):
            st.error(f"{explanations.title_of(request)}: {error_text(error)}")
    maps = _stored_maps(requests)
    if len(maps) > count:
        image_results.tiles(maps, chosen, slot)
    if measurements:
        image_results.results(settings, measurements, _verdicts(settings))
        _offer_self_test(settings)
        image_results.curves(settings, maps, measurements)
        image_results.downloads(settings, measurements)


def _stored_maps(requests: Sequence[Request]) -> dict[str, Explanation]:
    """The maps that are computed already, by the names of their methods and variants."""
    results = {request.key: explanations.find(request) for request in requests}
    return {
        name_of(request): explanations.titled(request, result)
        for request in requests
        if isinstance(result := results[request.key], Explanation)
    }


def _show_maps(requests: Sequence[Request], chosen: Chosen, slot: DeltaGenerator) -> int:
    """Show the maps in `slot` and return how many there are. Quick ones are computed now, the others with the measuring."""
    name, limit = joint_key("measured maps", requests), progress.AT_ONCE_SECONDS / len(requests)
    quick = [
        request for request in requests if explanations.find(request) is None and explanations.estimate(request) < limit
    ]
    list(explanations.compute_each(quick, name, not session.cancelled(name), slot))
    maps = _stored_maps(requests)
    image_results.tiles(maps, chosen, slot)
    return len(maps)


def _measurements(settings: MeasurementSettings, requests: Sequence[Request]) -> dict[tuple[str, str], Measurement]:
    """The stored measurements, by map and metric, after computing the missing ones if they are quick or asked for."""
    map_requests = {name: settings.request_without_method(name) for name in CONTROLS} | {
        name_of(request): request for request in requests if not isinstance(explanations.find(request), XaiError)
    }
    wanted = {
        (name, metric): settings.request(map_request, metric)
        for name, map_request in map_requests.items()
        for metric in settings.metrics
    }
    missing = {pair: request for pair, request in wanted.items() if cache.get(request.key) is None}
    metrics = {name: options for name, options in settings.metrics.items() if any(name == metric for _, metric in missing)}
    unmeasured = {name for name, _ in missing}
    methods = {name: request.options for request in requests if (name := name_of(request)) in unmeasured}
    side = settings.model.recipe.input_size
    cost = total_cost(metrics, methods, not unmeasured.isdisjoint(CONTROLS), side) if missing else (0, 0)
    seconds = network_outputs.pass_seconds(settings.model, forward_passes(cost))
    parts = [explanations.part(request) for request in requests if explanations.find(request) is None]
    complete = page_work.complete(
        PageWork(
            joint_key("measuring", [settings.request(request, name) for request in requests for name in settings.metrics]),
            [*parts, Part("Metrics", seconds, _measuring(settings, requests, metrics, missing))] if missing else [],
            f"Measure {page_work.counted(len(requests), 'map')} of {settings.chosen.name} by "
            f"{page_work.counted(len(settings.metrics), 'metric')}",
            page_links.METRICS,
            private=widgets.is_upload(),
            button="Measure",
            results=[request.key for request in (*requests, *wanted.values())],
        )
    )
    if not complete:
        st.caption(
            f"{sum(cost):,} passes through the network, for {len(settings.metrics)} metrics of {len(requests)} maps and of "
            f"{len(CONTROLS)} controls (maps that do not depend on the network)."
        )
    stored = {pair: cache.get(request.key) for pair, request in wanted.items()}
    return _with_controls({pair: measurement for pair, measurement in stored.items() if measurement is not None})


def _measuring(
    settings: MeasurementSettings,
    requests: Sequence[Request],
    metrics: Mapping[str, Mapping[str, Any]],
    missing: Mapping[tuple[str, str], Request],
) -> Callable[[Track], None]:
    """The missing measurements of the maps that are stored by then; each is stored as soon as it is ready."""
    controls = any(name in CONTROLS for name, _ in missing)
    unmeasured = {method for method, _ in missing}

    def measure(track: Track) -> None:
        maps = {method: stored for method, stored in _stored_maps(requests).items() if method in unmeasured}
        measured = measure_all(
            settings.model, settings.chosen.picture, maps, metrics,
            target=settings.target, box=settings.box, scene=settings.chosen.scene, seed=settings.seed, controls=controls,
            track=track,
        )  # fmt: skip
        for of, metric, measurement in measured:
            if (of, metric) in missing:
                cache.put(missing[of, metric].key, replace(measurement, controls={}))

    return measure


def _with_controls(stored: Mapping[tuple[str, str], Measurement]) -> dict[tuple[str, str], Measurement]:
    """The measurements of maps with the values of the controls beside them."""
    measurements = {}
    for (name, metric), measurement in stored.items():
        values = {control: stored[control, metric].value for control in CONTROLS if (control, metric) in stored}
        measurements[name, metric] = measurement if name in CONTROLS else replace(measurement, controls=values)
    return measurements


def _verdict_key(settings: MeasurementSettings, metric: str) -> str:
    return settings.request(settings.request_without_method(SELF_TEST), metric).key


def _verdicts(settings: MeasurementSettings) -> dict[str, Verdict]:
    """The stored results of the self-test, by metric."""
    stored = {metric: cache.get(_verdict_key(settings, metric)) for metric in settings.metrics}
    return {metric: verdict for metric, verdict in stored.items() if verdict is not None}


def _offer_self_test(settings: MeasurementSettings) -> None:
    """Offer the self-test of the metrics that are not tested yet, with the passes it takes."""
    verdicts = _verdicts(settings)
    missing = {name: options for name, options in settings.metrics.items() if name not in verdicts}
    if not missing:
        return
    st.markdown("##### Can these metrics be trusted here?")
    st.caption(
        "The self-test puts a stage before this network that hides the whole picture except one quadrant. The true map "
        "is therefore known, and a metric must rank it above false ones."
    )
    passes, tested = self_test_passes(missing), settings.request_without_method(SELF_TEST)
    known = network_outputs.known_seconds(settings.model, passes)
    seconds = passes * network_outputs.UNMEASURED_SECONDS if known is None else known

    def test(track: Track) -> None:
        model, picture = settings.model, settings.chosen.picture
        scene, seed = settings.chosen.scene, settings.seed
        for verdict in self_test(model, picture, missing, settings.target, scene=scene, seed=seed, track=track):
            cache.put(_verdict_key(settings, verdict.metric), verdict)

    page_work.complete(
        PageWork(
            joint_key("self-test", [settings.request(tested, metric) for metric in settings.metrics]),
            [Part("Self-test", max(seconds, progress.AT_ONCE_SECONDS), test)],  # it is done only where it is wanted
            f"Self-test of {page_work.counted(len(missing), 'metric')} on {settings.chosen.name}",
            page_links.METRICS,
            private=widgets.is_upload(),
            button="Self-test",
            time_is_known=known is not None,
        )
    )
    st.caption(f"At most {passes:,} passes.")
