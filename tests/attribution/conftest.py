"""What tests that ask about the same pictures again and again may share."""

import pytest
from skimage import segmentation


@pytest.fixture(scope="module")
def segmented_once():
    """The segments of a picture for XRAI are found once: at 224 x 224 and six scales this takes longer than all the rest.

    They are looked up by every pixel and option, so that a picture that differs in one bit is segmented anew."""
    found, segments_of = {}, segmentation.felzenszwalb

    def remembered(pixels, **options):
        key = (pixels.tobytes(), pixels.shape, *sorted(options.items()))
        if key not in found:
            found[key] = segments_of(pixels, **options)
        return found[key].copy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segmentation, "felzenszwalb", remembered)
        yield


def pytest_collection_modifyitems(items):
    """The laws of `test_conformance.py` are ordered by method and network: one process then has most of the maps that
    several laws look at. Ordered by law, they lie in the shares of different workers, and each computes the map again."""

    def is_law(item):
        return item.path.name == "test_conformance.py" and {"method", "name"} <= {*getattr(item, "fixturenames", ())}

    places = [place for place, item in enumerate(items) if is_law(item)]
    laws = sorted(
        (items[place] for place in places), key=lambda law: (law.callspec.params["method"], law.callspec.params["name"])
    )
    for place, law in zip(places, laws, strict=True):
        items[place] = law
