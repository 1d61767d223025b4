"""Small recordings of trainings, made without training: one by hand, one of any size."""

import io

import numpy as np
import pandas as pd

from xai_core.training.dynamics.analysis import RecordedRun
from xai_core.training.dynamics.readers import read_run
from xai_core.training.dynamics.recorder import RunRecorder

NAMES = ("cat", "dog", "fox", "owl")
# four samples over five epochs: never changes and is right; flips every time; learns once; is missing twice
TABLE = {
    "still": ("cat", ["cat", "cat", "cat", "cat", "cat"]),
    "flips": ("dog", ["cat", "dog", "cat", "dog", "cat"]),
    "learns": ("fox", ["owl", "cat", "fox", "fox", "fox"]),
    "misses": ("owl", ["owl", None, None, "dog", "owl"]),
}


def made(classes=NAMES, table=TABLE) -> RecordedRun:
    rows = [
        {"epoch": epoch, "sample": sample, "true": true, "predicted": one, "confidence": 0.5}
        for sample, (true, path) in table.items()
        for epoch, one in enumerate(path, start=1)
        if one
    ]
    frame = pd.DataFrame(rows)
    kinds = pd.CategoricalDtype(list(classes))
    buffer = io.BytesIO()
    frame.astype({"true": kinds, "predicted": kinds}).to_parquet(buffer)
    return read_run(buffer.getvalue(), "made.parquet")


def recorded(path, samples=300, epochs=6, seed=0, classes=NAMES, loss=1.0):
    draw = np.random.default_rng(seed)
    true = draw.integers(0, len(classes), samples)
    recorder, names = RunRecorder(path, classes), np.array(classes)
    for epoch in range(1, epochs + 1):
        guess = np.where(draw.random(samples) < epoch / epochs, true, draw.integers(0, len(classes), samples))
        curves = {"train_loss": loss / epoch, "validation_accuracy": epoch / epochs}
        recorder.record(
            epoch, [f"{names[one]}/{row}.png" for row, one in enumerate(true)], names[true], names[guess],
            draw.random(samples), **curves,
        )  # fmt: skip
