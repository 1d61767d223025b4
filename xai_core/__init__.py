"""xai_core: why an image model decided as it did. The public names; each is loaded when it is first used.

model = load_model("efficientnet_lite0")
explanation = explain(model, "cat.jpg", "grad_cam", target="tabby")
overlay(explanation, "cat.jpg").save("why.png")
"""

import lazy_loader

from xai_core.core import settings

settings.let_openmp_sleep()  # before anything here imports torch
settings.let_openblas_sleep()  # and numpy

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
