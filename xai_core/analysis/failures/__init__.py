"""Why a model's errors happen, and what mends them."""
