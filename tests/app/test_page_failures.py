"""The page Failure analysis in Streamlit's test harness."""

import numpy as np
from opened_pages import ROOT, opened, text

from xai_core.data.predictions import read_predictions
from xai_core.failures.triage import triage

PAGE = "pages/7_Failure_analysis.py"


def test_the_number_of_flagged_labels_is_that_of_the_triage():
    """Computed again from the predictions that come with the app."""
    (file,) = (ROOT / "data" / "predictions").glob("world_planted*.parquet")
    rows = read_predictions(file)
    flags = triage(np.stack(rows["embedding"].to_list()), rows["true"].to_list()).flags
    assert f"contradict {len(flags)} of {len(rows):,} labels" in text(opened(PAGE))
