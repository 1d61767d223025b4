"""What can go wrong, in words a user can act on.

XaiError                    the root: pages and the command line catch only this one
├── BadPicture              the file is not a picture this project opens
├── BadRequest              a question that cannot be asked
│   ├── UnknownName         no such model, method, class, cut or option; lists what is near
│   ├── NoClassifier        a class was asked of a network that has no classes
│   └── BeingWritten        another process writes to this place now
├── BadCard                 a model card of the user's own cannot be used
├── WeightsUnavailable      a checkpoint is neither here nor to be fetched; names the file
└── OutOfMemory             not even one picture fits
"""

import difflib
from collections.abc import Iterable


class XaiError(Exception):
    """Root of every error that this package raises on purpose."""


class BadPicture(XaiError):
    """The file is not a picture this project opens."""


class BadRequest(XaiError, ValueError):
    """The question cannot be asked as it stands."""


class UnknownName(BadRequest):
    """No such model, method, class, cut or option."""

    def __init__(self, kind: str, given: object, known: Iterable[str]):
        known = list(known)
        given = " ".join(str(given).split())[:80]  # one line, whatever was typed
        near = difflib.get_close_matches(given.lower(), [name.lower() for name in known], n=5, cutoff=0.5)
        shown = [name for name in known if name.lower() in near] or known[:20]
        more = "" if len(shown) == len(known) else f" and {len(known) - len(shown)} more"
        super().__init__(f"There is no {kind} '{given}'. Known: {', '.join(shown)}{more}.")


class NoClassifier(BadRequest):
    """A class was asked of a network that has no classes."""


class BeingWritten(BadRequest):
    """Another process writes to this place now: wait for it, or choose another place."""


class BadCard(XaiError):
    """A model card of the user's own cannot be used; names the file and what is wrong."""


class WeightsUnavailable(XaiError):
    """A checkpoint is neither on this machine nor to be fetched."""


class OutOfMemory(XaiError):
    """Not even one picture fits into the memory of the device."""
