"""Why a model's errors happen and what to do about them.

The public names, each loaded when it is first used:

from xai_core import failures
judgement = failures.triage(features, labels)  # which labels are likely to be wrong
error_groups = failures.groups(predictions, metadata, features)  # which errors belong together
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
