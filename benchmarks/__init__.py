"""What things cost, each measured beside its peer in the same run. Ratios are what counts; seconds depend on the machine."""

from xai_core.core import torchvision_compat

torchvision_compat.ensure_importable()  # the peers import torchvision
