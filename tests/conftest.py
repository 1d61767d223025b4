"""What every test may use: pictures that may not be redistributed, and the one model that comes with the installation.

The suite runs in one process more than there are processors, because a browser test waits for a third of its time. Each
computes with one thread, and so do the servers that it starts: small networks gain nothing from a second one, and the
threads of several processes would spin against each other. (Torch reads the number when it is imported.)

The remedy for torchvision stands here, above everything that imports torchvision: timm, grad-cam, captum.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from browsing import browser, browser_path, more_data, playwright, server, usual_context, visit  # noqa: F401 (fixtures)

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

# The list of jobs, the predictions, the notes and the reviews of this process alone.
OWN = Path(tempfile.mkdtemp(prefix="xai_core_tests_"))
os.environ |= {
    "XAI_CACHE": str(OWN), "XAI_NOTES": str(OWN / "notes"), "XAI_REVIEW_DB": f"sqlite:///{OWN}/review.sqlite",
}  # fmt: skip

from xai_core.core import torchvision_compat

torchvision_compat.ensure_importable()

from xai_core.core.machine import available_cpus
from xai_core.models.explainable import ExplainableModel
from xai_core.models.loading import load_model


def pytest_xdist_auto_num_workers() -> int:
    return available_cpus() + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest test is the first: as one of the last, it would be waited for by workers that have nothing left to do."""
    items.sort(key=lambda item: item.path.name != "test_kills.py")


ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"  # ImageNet pictures, which may not be redistributed; tests/data/references has the rest


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """`shared("data/x.zip")`: that file of the folder `shared` beside the repository; skips the test where it is missing."""

    def find(path: str) -> Path:
        file = SHARED / path
        if not file.exists():
            pytest.skip(f"This test needs {file}, which is not on this machine.")
        return file

    return find


@pytest.fixture(scope="session")
def lite0() -> ExplainableModel:
    """EfficientNet-Lite0 with its trained weights: the model that needs no download. Shared; nobody can write to it."""
    return load_model("efficientnet_lite0")
