"""The part of the build that pyproject.toml cannot say.

Pages, networks and runs lie at the top of a checkout, outside the package. In a wheel they lie in `xai_core/bundled`, where
`xai_core.core.settings` looks for them. Dependencies are those of requirements.txt: the application and its tests run with
exactly these versions, so they are pinned there; a library must share an environment with others, so that here each pin
becomes a lower bound. Older versions may work but are not tested.
"""

from pathlib import Path

from setuptools import find_packages, setup

BUNDLED = [
    "Home.py",
    "pages/*.py",
    ".streamlit/config.toml",
    "docs/icon.png",
    "weights/scenes_*",
    "weights/world_*",
    "data/runs/scenes_*.parquet",
    "data/runs/world_*.parquet",
    "data/predictions/*world_*.parquet",
    "data/first_views.npz",
    "data/review/example.json",
    "data/runs/quick/manifest.json",
    "data/runs/quick/parts/*.parquet",
    "data/runs/pairs_samples/manifest.json",
    "data/runs/pairs_samples/parts/*.parquet",
    "data/runs/truth/manifest.json",
    "data/runs/truth/parts/*.parquet",
    "data/runs/truth/pictures/*.parquet",
]
LINES = Path("requirements.txt").read_text(encoding="utf-8").splitlines()
PINS = [line.split("#")[0].strip() for line in LINES]

setup(
    script_name="setup.py",  # setuptools then leaves this file out of the package at the top of the checkout
    packages=[*find_packages(include=["xai_core", "xai_core.*"]), "xai_core.bundled"],
    package_dir={"xai_core.bundled": "."},
    package_data={
        "xai_core": ["py.typed", "__init__.pyi"],
        "xai_core.models": ["imagenet_classes.tsv", "known_networks.json", "library_networks.tsv.gz"],
        "xai_core.pairs": ["published.csv"],
        "xai_core.app.misclassifications": ["point_map.*"],
        "xai_core.app.review": ["voting_form.*"],
        "xai_core.failures": ["__init__.pyi"],
        "xai_core.review": ["__init__.pyi"],
        "xai_core.bundled": BUNDLED,
    },
    install_requires=[pin.replace("==", ">=") for pin in PINS if pin],
)
