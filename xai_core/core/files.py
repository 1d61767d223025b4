"""Write files atomically: a reader finds the whole file or none."""

import os
import tempfile
from pathlib import Path

from xai_core.core.errors import XaiError


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file as a whole, also over an earlier one; its folder is made where it is missing. Raises XaiError."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise XaiError(f"Cannot write {path}: {error.strerror or error}.") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)  # already gone where all went well
