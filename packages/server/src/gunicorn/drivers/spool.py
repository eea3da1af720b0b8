"""A request body while it arrives: in memory as long as it is small, in an unlinked temporary file beyond that."""

from __future__ import annotations

import io
import tempfile
from typing import BinaryIO, Final

MOST_IN_MEMORY: Final = 512 * 1024  # bytes


class Spool:
    """Collects a body; :meth:`rewind` gives it as a file to read. The file never has a name on disk that could stay."""

    __slots__ = ("_file", "_rolled", "size")

    def __init__(self) -> None:
        self._file: BinaryIO = io.BytesIO()
        self._rolled = False
        self.size = 0

    def write(self, data: bytes, directory: str | None = None) -> None:
        """Append *data*. *directory* is where the temporary file goes when there must be one (``tmp_upload_dir``)."""
        self.size += len(data)
        if self.size > MOST_IN_MEMORY and not self._rolled:
            on_disk = tempfile.TemporaryFile(prefix="gunicorn-", dir=directory)  # noqa: SIM115 - closed by close()
            on_disk.write(self._file.getbuffer())  # type: ignore[attr-defined]
            self._file, self._rolled = on_disk, True
        self._file.write(data)

    def rewind(self) -> BinaryIO:
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        self._file.close()
