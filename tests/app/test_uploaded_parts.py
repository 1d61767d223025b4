"""A ZIP with parts, uploaded on the page Misclassifications: its visitor chooses one of them."""

import io
import zipfile

from opened_pages import opened, text
from PIL import Image

from xai_core.app.shared.opened_datasets import SAMPLES

PAGE = "pages/6_Misclassifications.py"


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for part, labels in {"test": {"tabby": 2, "espresso": 1}, "train": {"tabby": 4, "espresso": 3}}.items():
            for label, count in labels.items():
                for number in range(count):
                    picture = io.BytesIO()
                    Image.new("RGB", (32, 32), (number * 40, 90, len(label) * 9)).save(picture, "PNG")
                    archive.writestr(f"pets/{part}/{label}/{number}.png", picture.getvalue())
    return file.getvalue()


def test_an_uploaded_zip_with_parts_asks_which_one_and_shows_it():
    app = opened(PAGE, dataset=SAMPLES)
    app.file_uploader(key="zip").set_value(("pets.zip", zipped(), "application/zip")).run()
    assert not app.exception and not app.error
    part = app.selectbox(key="zip_part")
    assert part.options == ["test", "train"] and part.value == "test"
    assert app.session_state["unzipped"][1].in_words().endswith("test: 3 pictures of 2 classes.")
    assert "3 pictures of 2 classes" in text(app)
    part.set_value("train").run()
    assert not app.exception and app.session_state["unzipped"][1].in_words().endswith("train: 7 pictures of 2 classes.")
    assert "7 pictures of 2 classes" in text(app)
