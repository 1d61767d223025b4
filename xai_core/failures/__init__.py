"""Why a model's errors happen: wrong labels, what causes the answer, and what mends it."""
