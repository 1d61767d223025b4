"""The predictions that come with the app: `python -m benchmarks.shipped_predictions` writes data/predictions/.

They are those of `classify`, but for the embeddings: rounded to 11 significant bits, as many as half precision has, they
take a third of the space, and cosines between them change by less than 0.0001.
"""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xai_core.analysis.predict import classify
from xai_core.data.datasets import USUAL_WORLD, open_dataset
from xai_core.models.loading import load_model

FOLDER = Path(__file__).parents[1] / "data" / "predictions"
MODELS = ("world_planted", "world_clean")
BITS = 11


def rounded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The values with BITS significant bits."""
    fractions, exponents = np.frexp(values)
    return np.ldexp(np.round(fractions * 2**BITS) / 2**BITS, exponents).astype(np.float32)


def write(model: str) -> None:
    """Classify the test pictures of the planted world with a model, and write the small file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "exact.parquet"
        for _ in classify(load_model(model), open_dataset(USUAL_WORLD), file, embeddings=True):
            pass
        table = pq.read_table(file)  # with the settings, which the page compares
    place = table.schema.get_field_index("embedding")
    embeddings = rounded(np.stack(table["embedding"].to_pylist()).astype(np.float32))
    table = table.set_column(place, table.schema.field(place), pa.array(list(embeddings), table.schema.field(place).type))
    pq.write_table(
        table, FOLDER / f"{model}.parquet", compression="zstd", compression_level=19, use_dictionary=False,
        use_byte_stream_split=["embedding.list.element"],
    )  # fmt: skip


if __name__ == "__main__":
    for name in MODELS:
        write(name)
        print(f"written to {FOLDER / name}.parquet")
