"""CSV for spreadsheets: no formula, and everything else as it is."""

import io

import numpy as np
import pandas as pd
import pytest

from xai_core.core.spreadsheet import csv_bytes, guarded, unguarded

FORMULAS = ["=1+1.png", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3", "\t=1", "  =1", '=HYPERLINK("http://x")']
HARMLESS = ["tabby cat", "'quoted", "a=b", "", "1.png", "naïve – ok", "'"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_becomes_a_text_and_is_read_back(text):
    assert guarded(text) == f"'{text}" and unguarded(guarded(text)) == text


@pytest.mark.parametrize("text", HARMLESS)
def test_other_texts_stay_as_they_are(text):
    assert guarded(text) == unguarded(text) == text


def test_numbers_keep_their_sign_and_names_of_columns_are_guarded():
    table = pd.DataFrame({"=name": ["=1", "b"], "value": [-1.5, np.nan], "count": [-3, 4]}, index=[7, 9])
    again = pd.read_csv(io.BytesIO(csv_bytes(table)), encoding="utf-8-sig")
    assert list(again) == ["'=name", "value", "count"] and list(again["'=name"]) == ["'=1", "b"]
    assert again["value"][0] == -1.5 and np.isnan(again["value"][1]) and list(again["count"]) == [-3, 4]


def test_a_table_without_rows_has_its_columns():
    assert csv_bytes(pd.DataFrame(columns=["a", "b"])).decode("utf-8-sig").strip() == "a,b"
