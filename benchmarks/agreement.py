"""How far every method agrees with its oracle: `python -m benchmarks.agreement [--out FILE]` writes docs/methods.md.

The oracles are those of the tests (tests/oracles.py): grad-cam, captum and lime on independent copies of the same networks
with random weights. The table has a row for every method of the catalogue.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from oracles import Case
from oracles_of_parts import CASES, CLOSED_FORMS, NOT_ORACLES
from small_models import difference, spearman

from benchmarks import leaderboard
from xai_core import METHODS
from xai_core.attribution.method import Method
from xai_core.evaluation.summary import CONTROL

HEAD = """# Methods, and what each is checked against

Written by `python -m benchmarks.agreement`; do not edit. What a method tells, and what not, stands in its docstring, on the
single-image page, and in `python -m xai_core methods --json`.

- **Sign**: *signed* maps have evidence for and against the target, the others only how much.
- **Needs**: what a model must have; *cut* is a layer at which the map looks.
- **Passes** forward + backward through the whole network, for one picture with the default options (as the app estimates
  it; passes through the part behind a cut are counted as parts of a forward pass).
- **Oracle**: another implementation, given the same picture, weights and target on an independent copy of the network. ρ is
  the lowest Spearman rank correlation of any picture, Δ the largest max |a - b| / max |b|; the tests ask for at least 0.999
  and at most 1e-4. Networks have random weights: ResNet-50 and DeiT-Ti/16 at 224 pixels where the oracle can take them,
  small ones where it cannot or is slow.
- **Closed form**: a test in which the right map is known, with its place under `tests/`.
- **Truth**: where it is known what each part of a picture does (drawn pictures, network `world_planted`), the mean rank
  correlation of the map with it, with its 95 % interval; an asterisk where the map does not beat every control. See
  [leaderboard.md](leaderboard.md).

| method | family | sign | needs | passes | source | truth | oracle | closed form | remarks on other libraries |
|---|---|---|---|---|---|---|---|---|---|
"""
NETWORKS = {"resnet50": "ResNet-50", "vit": "DeiT-Ti/16", "resnet18": "ResNet-18", "test_vit": "small ViT",
            "test_efficientnet": "small EfficientNet"}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "methods.md")
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # the oracles announce their hooks and deprecations
    rows = []
    for method in METHODS.values():
        began = time.perf_counter()
        rows.append(row(method, "<br>".join(map(in_words, cases(method)))))
        print(f"{method.id:<30}{time.perf_counter() - began:8.1f} s", flush=True)
    given.out.write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")
    print(f"written to {given.out}")


def cases(method: Method) -> Iterator[Case]:
    return (make() for make in CASES.get(method.id, ()))


def in_words(case: Case) -> str:
    """One comparison: who, where, how close."""
    pairs = list(zip(*case.maps(), strict=True))
    rank, gap = min(spearman(a, b) for a, b in pairs), max(difference(a, b) for a, b in pairs)
    network = NETWORKS.get(case.network, case.network)
    return f"{case.library}, {network}: ρ {rank:.6f}, Δ {gap:.0e}".replace("Δ 0e+00", "Δ 0")


def truth(id: str) -> str:
    """How well the method's maps agree with the truth on world_planted, from `python -m benchmarks.leaderboard`."""
    maps = json.loads(leaderboard.FILE.read_text())["models"][leaderboard.TRAINED[0]]["maps"]
    return leaderboard.cell(maps.get(id, maps.get(f"{CONTROL}{id}", {})).get(leaderboard.TRUTH))


def row(method: Method, oracle: str) -> str:
    """One line of the table."""
    forward, backward = method.usual_cost
    words, test = CLOSED_FORMS.get(method.id, ("", ""))
    cells = (
        f"**{method.title}** `{method.id}`",
        method.family,
        method.sign,
        ", ".join(sorted(method.needs)) or "–",
        f"{forward} + {backward}",
        method.source,
        truth(method.id),
        oracle or "–",
        f"{words} (`{test}`)" if words else "–",
        NOT_ORACLES.get(method.id, ""),
    )
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


if __name__ == "__main__":
    main()
