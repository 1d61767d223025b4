"""What six networks in turn need: `python -m benchmarks.memory [--out FILE]`.

The app's own cache loads the networks one after the other (random weights: they take what trained ones do), each explains
one picture, and what this process holds at most is written down. Streamlit Cloud ends an app at 2,700 MB.
"""

import argparse
import json
import logging
import resource
from pathlib import Path

logging.disable(logging.WARNING)  # streamlit's, about running without a server

from benchmarks.paired import machine
from xai_core import explain
from xai_core.app import home, loaded
from xai_core.samples import load_sample

LIMIT = 2700
NETWORKS = (
    "efficientnet_lite0", "resnet50", "deit_base_patch16_224", "swin_base_patch4_window7_224", "xcit_small_12_p16_224",
    "cait_s24_224",
)  # fmt: skip


def peak_megabytes() -> float:
    """The most that this process ever held, in MB (Linux counts in KB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "memory.json")
    given = parser.parse_args()
    picture, rows = load_sample("astronaut"), []
    for id in NETWORKS:
        for method in ("grad_cam", "saliency"):
            explain(loaded.model(id, loaded.RANDOM), picture, method)
        held = [name for name, _, _ in loaded.in_memory()]
        rows.append({"network": id, "now": home.resident_megabytes(), "peak": peak_megabytes(), "in memory": held})
        print(f"{id:<32}{rows[-1]['now']:>8.0f} MB now{rows[-1]['peak']:>8.0f} MB at most   {', '.join(held)}")
    peak = rows[-1]["peak"]
    print(f"{peak:.0f} MB of {LIMIT}: {'within' if peak <= LIMIT else 'ABOVE'} the limit")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps({"machine": machine(), "limit": LIMIT, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
