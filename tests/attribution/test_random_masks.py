"""RISE and Sobol indices: exhaustive masks, the published formula, known indices, scipy; and what every method that draws
at random promises: one sweep for many targets, honest errors, an early end, and the same map whatever the batch.
"""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import skimage.transform
import torch
from small_models import ask, difference, pictures, small, targets
from torch import nn

from xai_core.attribution import xrai
from xai_core.attribution.perturbation import random_masks, superpixels
from xai_core.core import runtime
from xai_core.core.errors import BadRequest
from xai_core.explanation.targets import ClassLogit, ClassMargin
from xai_core.models.explainable import ExplainableModel

MARGIN = ClassMargin((1,), (4,))
RANDOM = {
    "rise": (random_masks.rise, {"samples": 60, "grid": 4}),
    "sobol": (random_masks.sobol, {"grid": 3, "designs": 8}),
    "lime": (superpixels.lime, {"samples": 60, "segmentation": "slic", "segments": 12}),
    "kernel_shap": (superpixels.kernel_shap, {"samples": 80, "segments": 12}),
    "feature_ablation": (superpixels.feature_ablation, {}),
    "xrai": (xrai.xrai, {"steps": 8}),
}


def cells_model(function, count):
    """A network that sees the mean of each of count x count cells of the first channel: its first logit is
    function(cells (n, d)), its second always zero."""
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(count), nn.Flatten())
    stages = [("red", lambda images: images[:, :1])]
    return ExplainableModel.from_stages(
        stages, pool, classify=lambda cells: nn.functional.pad(function(cells)[:, None], (0, 1))
    )


def every_mask(side, count):
    """All 2^(count^2) masks of count x count cells, (N, side, side)."""
    grids = torch.tensor(list(itertools.product([0.0, 1.0], repeat=count**2))).view(-1, count, count)
    return grids.repeat_interleave(side // count, 1).repeat_interleave(side // count, 2)


def test_rise_over_all_masks_of_a_linear_network_is_exact():
    """Over all masks the cells are independent: shown minus hidden is what the cell adds."""
    torch.manual_seed(0)
    weights = torch.randn(9)
    image = pictures(1, 12)
    model = cells_model(lambda cells: cells @ weights, 3)
    found = random_masks.rise(ask(model, ClassLogit((0,))), image, masks=every_mask(12, 3)).heatmap[0, ::4, ::4].flatten()
    assert difference(found, weights * nn.functional.adaptive_avg_pool2d(image[0, 0][None], 3).flatten()) <= 1e-5


@pytest.mark.parametrize("correction", ["published", "coverage", "contrast"])
def test_rise_by_its_formula(correction):
    """The sums written out, and the error: of a mean where it is one, else by leaving out one mask at a time."""
    model, images = small("custom").model, pictures(2, 48)
    question = ask(model, ClassLogit((1, 2)))
    shown = random_masks.random_masks(3, range(300), 5, 0.4, (48, 48), images.device)
    found = random_masks.rise(question, images, masks=shown, share=0.4, correction=correction)
    shown = shown.double()
    for row, image in enumerate(images):
        scores = question.select([row]).scores(image * shown[:, None].float()).double()[:, None, None]
        seen, total = scores * shown, len(shown)

        def value(f, m, n, every):
            if correction == "published":
                return f / (n * 0.4)
            return f / m - (0 if correction == "coverage" else (every - f) / (n - m))

        expected = value(seen.sum(0), shown.sum(0), total, scores.sum(0))
        assert difference(found.heatmap[row], expected) <= 1e-4
        others = value(seen.sum(0) - seen, shown.sum(0) - shown, total - 1, scores.sum(0) - scores)
        jackknife = ((others - others.mean(0)) ** 2).sum(0).mul((total - 1) / total).sqrt()
        assert 0.95 < (found.error[row] / jackknife).mean() < 1.02


def test_masks_are_stretched_cells_cut_at_a_shift():
    """As the authors do it with skimage; compared where no cell beyond the grid is needed."""
    size, cell = (56, 42), (8, 6)
    found = random_masks.random_masks(1, range(20), 7, 0.5, size, torch.device("cpu"))
    for row in range(20):
        draw = runtime.uniform_draw(1, row, (51,))
        grid = (draw[2:] < 0.5).view(7, 7).numpy().astype(float)
        stretched = skimage.transform.resize(grid, (64, 48), order=1, mode="edge", anti_aliasing=False)
        top, left = (draw[:2] * torch.tensor(cell)).int().tolist()
        assert difference(found[row], stretched[top : top + 56, left : left + 42]) <= 1e-5
    assert found.min() >= 0 and found.max() <= 1 + 1e-6


def test_masks_show_their_share_and_depend_on_seed_and_number_alone():
    made = random_masks.random_masks(0, range(2000), 7, 0.3, (28, 28), torch.device("cpu"))
    assert (made.mean(0) - 0.3).abs().max() < 0.05
    part = random_masks.random_masks(0, range(700, 705), 7, 0.3, (28, 28), torch.device("cpu"))
    assert torch.equal(part, made[700:705])
    assert not torch.equal(part, random_masks.random_masks(1, range(700, 705), 7, 0.3, (28, 28), torch.device("cpu")))


def test_one_sweep_serves_every_target():
    found = small("custom")
    images, asked = pictures(2, 48), [*targets(found, 2).values(), *(ClassLogit((index,)) for index in range(10))]
    question = ask(found.model, asked[0])
    together = random_masks.rise_all(question, images, asked, samples=300, grid=4)
    assert question.tally.forward == 2 * 300
    for target, ours in zip(asked, together, strict=True):
        alone = random_masks.rise(ask(found.model, target), images, samples=300, grid=4)
        assert difference(ours.heatmap, alone.heatmap) <= 1e-5
        assert difference(ours.error, alone.error) <= 1e-5


def test_rise_error_shrinks_with_the_root_of_the_number_and_is_the_spread_over_seeds():
    question, image = ask(small("custom").model, MARGIN), pictures(1, 32)
    few, many = (random_masks.rise(question, image, samples=samples, grid=4) for samples in (300, 2700))
    assert abs(float(few.error.mean() / many.error.mean()) - 3) < 0.3
    runs = torch.stack([random_masks.rise(question, image, samples=300, grid=4, seed=seed).heatmap for seed in range(16)])
    assert 0.8 < few.error.mean() / runs.std(0).mean() < 1.25


@pytest.mark.parametrize(
    ("method", "options", "counted"),
    [
        (random_masks.rise, {"samples": 4000, "grid": 3}, "masks"),
        (random_masks.sobol, {"designs": 256, "grid": 3}, "designs"),
        (superpixels.kernel_shap, {"samples": 4000, "segments": 20}, "samples"),
        (superpixels.lime, {"samples": 4000, "segments": 20}, "samples"),
    ],
)
def test_rise_stops_at_the_precision_goal(method, options, counted):
    question, image = ask(small("custom").model, MARGIN), pictures(1, 32)
    used = []
    goals = {random_masks.rise: (0.3, 0.03), random_masks.sobol: (0.2, 0.08), superpixels.lime: (0.3, 0.0015)}
    for goal in goals.get(method, (0.3, 0.01)):
        found = method(question, image, precision_goal=goal, **options)
        assert found.error.mean() < goal * (found.heatmap.max() - found.heatmap.min())
        used.append(float(found.facts[counted]))
    assert used[0] < used[1] < options.get("samples", options.get("designs"))
    few = {**options, ("designs" if method is random_masks.sobol else "samples"): 16}
    assert method(question, image, precision_goal=0.0, **few).facts[counted] in (16, 18)


@pytest.mark.parametrize("name", RANDOM)
def test_the_map_does_not_depend_on_the_inner_batch(name, monkeypatch):
    """Nor on a batch that does not fit and is tried again in halves."""
    method, options = RANDOM[name]
    found = small("custom")
    usual = method(ask(found.model, MARGIN), pictures(1, 48), **options)
    for size in (3, 1000):
        monkeypatch.setattr(runtime, "inner_batch", lambda *_, size=size, **__: size)
        assert difference(method(ask(found.model, MARGIN), pictures(1, 48), **options).heatmap, usual.heatmap) <= 1e-5

    def small_memory(images):
        if len(images) > 5:
            raise torch.OutOfMemoryError("too many")
        return images

    stages = [("guard", small_memory), *((stage.name, stage.run) for stage in found.model.network.stages)]
    ends = (found.model.network.pool, found.model.network.project, found.model.network.classify)
    guarded = ExplainableModel.from_stages(stages, *ends, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
    assert difference(method(ask(guarded, MARGIN), pictures(1, 48), **options).heatmap, usual.heatmap) <= 1e-5


@pytest.mark.parametrize("name", RANDOM)
def test_progress_is_one_bar_for_each_picture_and_can_stop_the_run(name):
    method, options = RANDOM[name]
    bars = []

    def watch(batches):
        bars.append(0)
        for batch in batches:
            yield batch
            bars[-1] += 1

    method(ask(small("custom").model, ClassLogit((1, 2))), pictures(2, 48), track=watch, **options)
    assert len(bars) == 2 and min(bars) >= 1

    def cancel(batches):
        yield next(iter(batches))
        raise KeyboardInterrupt

    question = ask(small("custom").model, MARGIN)
    with pytest.raises(KeyboardInterrupt):
        method(question, pictures(1, 48), track=cancel, **options)
    assert question.tally.forward <= 16


def sobol_of(function, image=None, **options):
    """Total indices of a function of the four cells of a white picture."""
    image = torch.ones(1, 3, 8, 8) if image is None else image
    found = random_masks.sobol(ask(cells_model(function, 2), ClassLogit((0,))), image, grid=2, designs=256, **options)
    return found.heatmap[0, ::4, ::4].flatten(), found.error[0, ::4, ::4].flatten()


def test_sobol_indices_of_an_additive_function():
    """Shares of the variance: a_i^2 / sum a^2."""
    slopes = torch.tensor([1.0, -2.0, 0.0, 3.0])
    found, error = sobol_of(lambda cells: 5 + cells @ slopes)
    assert difference(found, slopes**2 / (slopes**2).sum()) <= 0.02
    assert found[2] <= 1e-10 and found.sum() - 1 < 0.02 and error[3] < 0.06


def test_sobol_indices_of_a_product():
    """f = m1 m2: V = 1/9 - 1/16, and the part that needs m1 is E[m2^2] / 12: 4/7 of it, for both."""
    found, _ = sobol_of(lambda cells: cells[:, 0] * cells[:, 3])
    assert difference(found, [4 / 7, 0, 0, 4 / 7]) <= 0.1


def test_jansen_is_scipys():
    draw = np.random.default_rng(0)
    scores = draw.normal(size=(32, 6))
    given = {"f_A": scores[None, :, 0], "f_B": scores[None, :, 1], "f_AB": scores[:, 2:].T[:, None]}
    expected = scipy.stats.sobol_indices(func=given, n=32).total_order * 63 / 64  # its variance divides by 64
    assert difference(random_masks.jansen(torch.from_numpy(scores))[0], expected) <= 1e-12


def test_sobol_error_is_the_spread_over_seeds():
    """On 64 cells; on few, a Sobol sequence is more even than chance, and the error too large by up to ten."""
    found, image = small("custom"), pictures(1, 48)
    runs = [random_masks.sobol(ask(found.model, MARGIN), image, seed=seed) for seed in range(6)]
    spread = torch.stack([run.heatmap for run in runs]).std(0).mean()
    assert 0.75 < torch.stack([run.error for run in runs]).mean() / spread < 1.5


def test_sobol_of_a_constant_is_zero():
    found, error = sobol_of(lambda cells: 0 * cells[:, 0] + 3)
    assert not found.any() and not error.any()


def test_nothing_matters_outside_the_quadrant_that_the_network_reads():
    """Sobol: exactly, cell by cell. RISE: within four standard errors, or what the masks' smooth edges carry over."""
    model = cells_model(lambda cells: cells[:, 0].square(), 2)
    question, image = ask(model, ClassLogit((0,))), pictures(1, 32)
    found = random_masks.sobol(question, image, grid=4, designs=16).heatmap[0]
    assert found[16:].sum() + found[:16, 16:].sum() <= 1e-10 < found[:16, :16].min()
    found = random_masks.rise(question, image, grid=4, samples=2000)
    strength, z = found.heatmap[0], (found.heatmap / found.error)[0].abs()
    assert max(z[26:].max(), z[:, 26:].max()) < 4.5
    assert strength[:14, :14].min() > 2 * max(strength[20:].abs().max(), strength[:, 20:].abs().max())


def test_masks_and_grids_that_do_not_fit_are_refused():
    question, image = ask(small("custom").model, MARGIN), pictures(1, 12)
    with pytest.raises(BadRequest, match=r"Masks must be \(N, 12, 12\)"):
        random_masks.rise(question, image, masks=torch.ones(4, 10, 10))
    with pytest.raises(BadRequest, match="finer than a picture"):
        random_masks.rise(question, image, grid=13)
    with pytest.raises(BadRequest, match="finer than a picture"):
        random_masks.sobol(question, image, grid=13)
    with pytest.raises(BadRequest, match="holds 3 values"):
        random_masks.rise_all(question, image, [ClassLogit((1, 2, 3))])


def test_rounds_cover_everything_once():
    assert [len(part) for part in random_masks.rounds_of(600)] == [256, 256, 88]
    assert math.prod(len(random_masks.rounds_of(total)) for total in (1, 256)) == 1
