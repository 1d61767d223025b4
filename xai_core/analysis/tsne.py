"""t-SNE in a process of its own, which can be ended at any time: scikit-learn's runs in one call.

`python -m xai_core.analysis.tsne FILE` places the points in FILE, as `placed` has written it, and writes the result there.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xai_core.core.errors import XaiError
from xai_core.core.runtime import Track

LOOKS, SECONDS = 100, 0.2  # how often `placed` looks whether it is to end before it tells of a new start, and each pause
_PLACES = "places.npy"


def places(points: NDArray[np.floating], perplexity: float, seed: int) -> NDArray[np.float32]:
    """The places (n, 2) of n points (n, d)."""
    from sklearn.manifold import TSNE

    map: NDArray[np.float32] = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(points)
    return map


def placed(points: NDArray[np.floating], perplexity: float, seed: int, track: Track) -> NDArray[np.float32]:
    """As `places`. `track` is gone through while another process does the work; where it raises, that process is ended."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "points.npz"
        np.savez(file, points=points, perplexity=perplexity, seed=seed)
        command = [sys.executable, "-m", __name__, str(file)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            try:
                while process.poll() is None:
                    for _ in track(range(LOOKS)):
                        if process.poll() is not None:
                            break
                        time.sleep(SECONDS)
                complaint = process.communicate()[1]
            finally:
                process.kill()
        if process.returncode:
            raise XaiError(f"t-SNE ended early: {(complaint.strip().splitlines() or ['no reason was given'])[-1]}")
        map: NDArray[np.float32] = np.load(Path(folder) / _PLACES)
        return map


if __name__ == "__main__":
    read = np.load(sys.argv[1])
    np.save(Path(sys.argv[1]).with_name(_PLACES), places(read["points"], float(read["perplexity"]), int(read["seed"])))
