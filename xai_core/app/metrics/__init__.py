"""The page of faithfulness metrics."""
