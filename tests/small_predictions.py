"""Six predictions, written by hand."""

import pandas as pd

ROWS = [  # path, true, predicted, confidence
    ("1", "cat", "cat", 0.95),
    ("2", "cat", "dog", 0.65),
    ("3", "cat", "dog", 0.85),
    ("4", "dog", "dog", 0.85),
    ("5", "dog", "cow", 0.35),
    ("6", "cow", "cow", 1.0),
]
TABLE = pd.DataFrame(ROWS, columns=["path", "true", "predicted", "confidence"])
