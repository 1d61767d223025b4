"""Made features of labelled pictures, whose right labels are known."""

import numpy as np


def blobs(count=800, classes=5, apart=6.0, noise=0.0, dimensions=16, seed=0):
    """Features of Gaussian blobs, their labels of which a share is wrong, and the true ones."""
    draws = np.random.default_rng(seed)
    true = np.arange(count) % classes
    centres = np.linalg.qr(draws.normal(size=(dimensions, dimensions)))[0][:classes] * apart
    features = centres[true] + draws.normal(size=(count, dimensions))
    wrong = draws.choice(count, round(noise * count), replace=False)
    labels = true.copy()
    labels[wrong] = (true[wrong] + draws.integers(1, classes, len(wrong))) % classes
    names = np.array([f"class {code}" for code in range(classes)])
    return features.astype(np.float32), names[labels], names[true]
