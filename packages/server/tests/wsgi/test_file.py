"""FileWrapper, where no driver sends the file itself."""

import io

from gunicorn.wsgi.file import FileWrapper


def test_file_wrapper_reads_blocks_and_closes() -> None:
    file = io.BytesIO(b"abcdefg")
    wrapper = FileWrapper(file, 3)
    assert list(wrapper) == [b"abc", b"def", b"g"]
    wrapper.close()
    assert file.closed


def test_file_wrapper_of_what_cannot_be_closed() -> None:
    class Endless:
        def read(self, size: int) -> bytes:
            return b""

    wrapper = FileWrapper(Endless())
    assert list(wrapper) == []
    assert not hasattr(wrapper, "close")
