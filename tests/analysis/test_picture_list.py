"""Lists of classified pictures: the table, and the ZIP with pictures and maps."""

import io
import zipfile

import pandas as pd
import pytest
from small_predictions import TABLE

from xai_core.analysis import picture_list
from xai_core.core.errors import BadPicture
from xai_core.core.spreadsheet import csv_bytes

ROWS = TABLE.assign(
    true_probability=[0.95, 0.2, 0.1, 0.85, 0.3, 1.0],
    margin=0.1,
    top5=[["cat", "dog"]] * 6,
    top5_probability=[[0.75, 0.25]] * 6,
)
LISTED = picture_list.table(ROWS, {"2": ("blurred", "odd")})


def test_the_table_has_every_column_and_reads_back():
    again = pd.read_csv(io.BytesIO(csv_bytes(LISTED)), dtype={"path": str}, keep_default_na=False)
    assert list(again) == list(picture_list.COLUMNS) and list(again["path"]) == list(TABLE["path"])
    assert list(again["right"]) == [True, False, False, True, False, True]
    assert again["tags"][1] == "blurred, odd" and again["top five"][0] == "cat 0.7500; dog 0.2500"
    assert list(again["p(predicted)"]) == list(TABLE["confidence"]) and list(again["p(true)"]) == list(
        ROWS["true_probability"]
    )


def zipped(read, most_bytes=10**6, maps=lambda path: [("predicted.png", b"map of " + path.encode())]):
    file = io.BytesIO()
    contents = picture_list.write_zip(file, LISTED, read, maps, iter, most_bytes)
    return contents, zipfile.ZipFile(file)


def test_the_zip_holds_pictures_as_they_are_and_their_maps(tmp_path):
    (tmp_path / "1.png").write_bytes(b"from a file")
    contents, archive = zipped(lambda path: tmp_path / "1.png" if path == "1" else b"data of " + path.encode())
    assert contents == (6, {}) and archive.testzip() is None
    assert archive.read("pictures/1") == b"from a file" and archive.read("pictures/2") == b"data of 2"
    assert archive.read("maps/2-predicted.png") == b"map of 2" and len(archive.namelist()) == 13
    assert archive.read("pictures.csv") == csv_bytes(LISTED)


def test_the_zip_is_bounded_and_names_what_it_lacks(tmp_path):
    contents, archive = zipped(lambda path: bytes(1000), most_bytes=4500)
    assert contents.pictures == 3 and list(contents.left_out) == ["4", "5", "6"]
    assert {"pictures/1", "pictures/3", "pictures.csv"} <= set(archive.namelist()) and "pictures/4" not in archive.namelist()


@pytest.mark.parametrize("broken", [BadPicture("It is damaged."), FileNotFoundError(2, "No such file", "/srv/secret/3")])
def test_a_picture_that_cannot_be_read_is_left_out_with_the_reason(broken):
    def read(path):
        if path == "3":
            raise broken
        return b"data"

    contents, archive = zipped(read)
    assert contents.pictures == 5 and set(contents.left_out) == {"3"} and "srv" not in contents.left_out["3"]
    assert "pictures/3" not in archive.namelist() and b"\n3," in archive.read("pictures.csv")


def test_names_in_the_zip_lead_nowhere():
    file = io.BytesIO()
    listed = LISTED.head(2).assign(path=["../../etc/passwd", "/elsewhere/a.png"])
    picture_list.write_zip(file, listed, lambda path: b"data", lambda path: [], iter)
    assert zipfile.ZipFile(file).namelist() == ["pictures.csv", "pictures/etc/passwd", "pictures/elsewhere/a.png"]
