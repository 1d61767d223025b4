"""`python -m xai_core classify`: a model's predictions for every picture of a dataset."""

import argparse
import sys
from pathlib import Path


def add_to(parsers) -> None:
    classify = parsers.add_parser("classify", help="a model's predictions for a whole dataset; goes on where it was stopped")
    classify.add_argument("data", metavar="DATA", help="a labelled folder, a ZIP of one, or a CSV or Parquet (path, label)")
    classify.add_argument("--model", default="efficientnet_lite0", help="see: models")
    classify.add_argument("--weights", help="one of the model's checkpoints, or 'random' (default: its first)")
    classify.add_argument("--out", type=Path, required=True, metavar="FILE", help=".parquet, or .csv")
    classify.add_argument("--mapping", type=Path, metavar="FILE", help="label,class in each line (CSV), or a JSON object")
    classify.add_argument("--embeddings", action="store_true", help="also each picture's embedding")
    classify.add_argument("--precision", default="exact", help="exact or fast")
    classify.set_defaults(run=_classify)


def _classify(given: argparse.Namespace) -> None:
    from collections import Counter

    from tqdm import tqdm

    from xai_core.analysis import predict
    from xai_core.data.datasets import open_dataset
    from xai_core.data.label_matching import match_classes, read_mapping
    from xai_core.models.loading import load_model

    dataset = open_dataset(given.data)
    print(dataset.in_words())
    model = load_model(given.model, given.weights)
    matching = match_classes(dataset.classes, model, read_mapping(given.mapping) if given.mapping else None)
    print(matching.report(Counter(sample.label for sample in dataset.samples)), flush=True)
    asked = {"matching": matching, "embeddings": given.embeddings, "precision": given.precision}
    with tqdm(total=len(dataset.samples), leave=False, disable=None, unit="picture") as bar:
        for progress in predict.classify(model, dataset, given.out, **asked):
            bar.update(progress.done - bar.n)
    for name, reason in progress.unreadable:
        print(f"left out: {name}: {reason}", file=sys.stderr)
    print(progress.in_words())
    if given.out.suffix == ".parquet":
        needed = ["true", "true_index", "predicted"]
        table = predict.judged(predict.read_predictions(given.out, needed))
        if len(table):
            right = int((table["true"] == table["predicted"]).sum())
            print(f"{right:,} of {len(table):,} are right ({right / len(table):.1%}).")
    print(given.out)
