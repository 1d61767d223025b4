"""The predictions that come with the app: `python -m benchmarks.shipped_predictions` writes data/predictions/,
or the files that are named behind it.

They are those of `classify`, but for the embeddings: rounded to 11 significant bits, as many as half precision has, they
take a third of the space, and cosines between them change by less than 0.0001.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xai_core.analysis.predict import classify
from xai_core.data.datasets import USUAL_WORLD, open_dataset, training_split
from xai_core.models.loading import load_model

FOLDER = Path(__file__).parents[1] / "data" / "predictions"
FILES = {  # the model and the pictures of each file
    "world_planted": ("world_planted", USUAL_WORLD),
    "world_clean": ("world_clean", USUAL_WORLD),
    "training_world_planted": ("world_planted", training_split(USUAL_WORLD)),
}
BITS = 11


def rounded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The values with BITS significant bits."""
    fractions, exponents = np.frexp(values)
    return np.ldexp(np.round(fractions * 2**BITS) / 2**BITS, exponents).astype(np.float32)


def write(name: str) -> None:
    """Classify the pictures of a file with its model, and write the small file."""
    model, pictures = FILES[name]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "exact.parquet"
        for _ in classify(load_model(model), open_dataset(pictures), file, embeddings=True):
            pass
        table = pq.read_table(file)  # with the settings, which the page compares
    place = table.schema.get_field_index("embedding")
    embeddings = rounded(np.stack(table["embedding"].to_pylist()).astype(np.float32))
    table = table.set_column(place, table.schema.field(place), pa.array(list(embeddings), table.schema.field(place).type))
    pq.write_table(
        table, FOLDER / f"{name}.parquet", compression="zstd", compression_level=19, use_dictionary=False,
        use_byte_stream_split=["embedding.list.element"],
    )  # fmt: skip


if __name__ == "__main__":
    for name in sys.argv[1:] or FILES:
        write(name)
        print(f"written to {FOLDER / name}.parquet", flush=True)
