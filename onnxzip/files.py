"""Writing a file so that a kill at any moment leaves the old file or the new one, never a part."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A temporary file beside `target` that takes its place, in one step, when the block ends well.

    When the block raises, the temporary file vanishes and `target` stays as it was. A killed process may leave a file
    named `.TARGET.*.tmp` behind.

    Raises:
        OSError: the folder is missing or cannot be written, or `target` is a device, pipe or folder.
    """
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file")
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # mkstemp makes private files; what is written here is no secret
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Write UTF-8 text, atomically. Raises OSError as `replacing` does."""
    write_bytes(target, text.encode())


def write_bytes(target: Path, content: bytes) -> None:
    """Write bytes, atomically. Raises OSError as `replacing` does."""
    with replacing(target) as temporary:
        temporary.write_bytes(content)
