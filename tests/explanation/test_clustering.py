"""Clusters of maps find what was planted, and only then."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from xai_core import ExplainableModel, explain
from xai_core.core.errors import BadRequest
from xai_core.explanation.clustering import FEWEST, LINK, SIDE, cluster_maps, small_map

SIZE, EACH = 32, 60


def planted() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noisy pictures, their class, and whether they carry the mark. Class 1 shows a disc somewhere in the lower right, or,
    in half of its pictures, only a small bright mark in the upper left corner; class 0 shows neither."""
    draw = torch.Generator().manual_seed(0)
    pictures = 0.4 + 0.1 * torch.randn(3 * EACH, 3, SIZE, SIZE, generator=draw)
    down, across = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    for index in range(EACH):
        top, left = (14 + 8 * torch.rand(2, generator=draw)).tolist()
        disc = (down - top) ** 2 + (across - left) ** 2 < 36
        pictures[index, 0, disc] += 0.5
        pictures[EACH + index, :, 2:6, 2:6] = 1.0
    labels = torch.tensor([1] * 2 * EACH + [0] * EACH)
    return pictures.clamp(0, 1), labels, torch.arange(3 * EACH).ge(EACH) & (labels == 1)


def trained(pictures: torch.Tensor, labels: torch.Tensor) -> ExplainableModel:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 12, 5, 2, 2), nn.ReLU(), nn.Conv2d(12, 16, 3, 2, 1), nn.ReLU())
    head = nn.Linear(16, 2)
    optimiser = torch.optim.Adam([*body.parameters(), *head.parameters()], 0.01)
    for _ in range(60):
        loss = F.cross_entropy(head(body(pictures).mean((2, 3))), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return ExplainableModel.from_stages(
        [("body", body)], lambda found: found.mean((2, 3)), classify=head, class_names=["plain", "disc"], input_size=SIZE
    )


def test_the_planted_mark_is_found():
    pictures, labels, marked = planted()
    model = trained(pictures, labels)
    right = [index for index in range(2 * EACH) if model.top_k(pictures[index], 1)[0].index == 1]
    assert len(right) > 1.9 * EACH  # it has learned both, the disc and the mark
    maps = [one.heatmap for one in explain(model, [pictures[index] for index in right], "hires_cam", target="disc")]
    found = cluster_maps(maps)
    shares = [marked[right][torch.tensor(members)].float().mean().item() for members in found.members]
    best = int(np.argmax(shares))
    assert shares[best] >= 0.9
    assert len(found.members[best]) >= 0.9 * marked[right].sum()  # and it is all of them
    top, left = np.unravel_index(found.means[best].argmax(), (SIDE, SIDE))
    assert top < SIDE / 4 and left < SIDE / 4  # its mean map points at the mark


def blobs(places, each=12, seed=0):
    draw = np.random.default_rng(seed)
    maps = []
    for top, left in places:
        for _ in range(each):
            one = 0.05 * draw.random((14, 14))
            one[top : top + 3, left : left + 3] += draw.uniform(0.5, 5)
            maps.append(one)
    return maps


@pytest.mark.parametrize("places", [[(0, 0), (11, 11)], [(0, 0), (0, 11), (11, 0)], [(0, 0), (0, 11), (11, 0), (11, 11)]])
def test_as_many_groups_as_there_are_whatever_their_strength(places):
    found = cluster_maps(blobs(places))
    truth = np.repeat(np.arange(len(places)), 12)
    assert len(found.members) == len(places)
    assert all(len(np.unique(truth[members])) == 1 for members in found.members)


def test_the_same_seed_gives_the_same_groups_and_the_number_can_be_set():
    maps = blobs([(0, 0), (11, 11)])
    first, second = cluster_maps(maps, 3, seed=4), cluster_maps(maps, 3, seed=4)
    assert np.array_equal(first.labels, second.labels) and len(first.members) == 3
    assert sorted(np.concatenate(first.members).tolist()) == list(range(len(maps)))


def test_maps_of_zeros_and_of_several_sizes_are_no_obstacle():
    maps = blobs([(0, 0), (11, 11)], 6)
    found = cluster_maps([*maps, np.zeros((7, 7)), np.ones((224, 224)), np.full((3, 3), np.nan)])
    assert np.isfinite(found.means).all() and len(found.labels) == 15


def test_the_eigenvalues_are_those_of_the_graph_with_the_stated_affinity():
    """exp(-d^2 / s), s half the median squared distance between two maps; normalised Laplacian without loops; to 1e-9."""
    maps = blobs([(0, 0), (4, 4), (11, 11)], 5)
    points = [small_map(heatmap).astype(float).ravel() for heatmap in maps]
    squares = np.array([[((a - b) ** 2).sum() for b in points] for a in points])
    between = squares[np.triu_indices(len(maps), 1)]
    weights = np.exp(-squares / (np.median(between) / 2)) + LINK
    np.fill_diagonal(weights, 0)
    root = np.sqrt(weights.sum(1))
    expected = np.linalg.eigvalsh(np.eye(len(maps)) - weights / np.outer(root, root))
    found = cluster_maps(maps).eigenvalues
    assert found == pytest.approx(expected[: len(found)], abs=1e-9)


@pytest.mark.parametrize(("maps", "clusters"), [(blobs([(0, 0)], FEWEST - 1), None), (blobs([(0, 0)], 9), 9)])
def test_too_few_maps_are_refused(maps, clusters):
    with pytest.raises(BadRequest):
        cluster_maps(maps, clusters)
