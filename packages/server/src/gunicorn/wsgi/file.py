"""``wsgi.file_wrapper`` (PEP 3333, "Optional Platform-Specific File Handling"), as far as it needs no driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gunicorn.wsgi.response import Response

BLOCK_SIZE: Final = 65536  # bytes that are read at a time, unless the application says otherwise


class FileWrapper:
    """``wsgi.file_wrapper``: iterates over a file-like object in blocks, and closes it (PEP 3333)."""

    def __init__(self, filelike: Any, block_size: int = BLOCK_SIZE) -> None:
        self.filelike = filelike
        self.block_size = block_size
        if hasattr(filelike, "close"):
            self.close: Callable[[], None] = filelike.close

    def deliver(self, response: Response) -> bool:
        """Send the file without iterating over it; False when that cannot be, as here, where nobody knows how."""
        return False

    def __iter__(self) -> Iterator[bytes]:
        read, size = self.filelike.read, self.block_size
        while block := read(size):
            yield block
