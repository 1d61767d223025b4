"""What class activation maps share: standard errors over random samples, and when sampling ends."""

import pytest
import torch
from small_models import difference, pictures, small

from xai_core.attribution.cam.options import Replicated
from xai_core.attribution.explain import explain


def test_the_jackknife_of_a_mean_is_its_standard_error():
    samples = list(torch.randn(7, 2, 3, 3, generator=torch.Generator().manual_seed(0)))
    found = Replicated(lambda row, taken: torch.stack(taken).mean(0), [samples])
    expected = torch.stack([one.sum(0) for one in samples]).std(0) / 7**0.5
    assert difference(found.error(0, lambda channels: channels.sum(1)), expected) <= 1e-5


@pytest.mark.parametrize("goal", [0.02, 0.1])
def test_sampling_ends_when_the_goal_is_reached_for_each_picture_alone(goal):
    model, images = small("custom").model, pictures(2, 48)
    options = {"samples": 50, "cut": model.cuts[0], "precision_goal": goal}
    together = explain(model, images, "smooth_grad_cam_plusplus", target=1, **options)
    for one, image in zip(together, images, strict=True):
        assert 4 <= one.facts["samples"] < 50
        assert one.error.mean() < goal * (one.heatmap.max() - one.heatmap.min())
        alone = explain(model, image, "smooth_grad_cam_plusplus", target=1, **options)
        assert alone.facts == one.facts and difference(alone.heatmap, one.heatmap) <= 1e-5
