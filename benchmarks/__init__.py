"""What things cost, each measured beside its peer in the same run. Ratios are what counts; seconds depend on the machine."""

from xai_core import torchvision_ops

torchvision_ops.ensure_importable()  # the peers import torchvision
