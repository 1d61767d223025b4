"""What is measured in the tab "One image", and the requests whose keys name the measurements."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from xai_core.app.shared.widgets import Chosen
from xai_core.data.box import Box
from xai_core.data.preprocessing import Prepared
from xai_core.explanation.request import Request
from xai_core.explanation.targets import Target
from xai_core.metrics.catalog import METRICS
from xai_core.models.explainable import ExplainableModel


@dataclass(frozen=True)
class MeasurementSettings:
    """Everything that a measurement of the tab depends on, except the map: `metrics` have their options, `box` is in the
    picture's pixels."""

    model: ExplainableModel
    chosen: Chosen
    target: Target
    metrics: Mapping[str, Mapping[str, Any]]
    box: Box | None
    seed: int

    def request(self, map_request: Request, metric: str) -> Request:
        """The request for one metric of one map; its key names the measurement."""
        box = self.box if "box" in METRICS[metric].needs else None
        scene = self.chosen.scene if METRICS[metric].needs & {"box", "scene"} else None
        options = {"metric options": dict(self.metrics[metric]), "metric seed": self.seed, "box": box}
        options |= {"scene": repr(scene)} if scene else {}
        return map_request.computing(metric, METRICS[metric].version, **options)

    def request_without_method(self, name: str) -> Request:
        """The request for what no attribution method computes: a control map, or the self-test."""
        return Request(self.model, (self._prepared,), self.target, name)

    @cached_property
    def _prepared(self) -> Prepared:
        return self.model.prepare(self.chosen.picture)
