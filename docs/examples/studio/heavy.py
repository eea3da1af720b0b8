"""The heavy work of the studio: two dirty apps, loaded by the workers of the dirty pool and by no HTTP worker.

gunicorn.conf.py names them in `dirty_apps`; the two web front-ends call them by name ("heavy:Pictures", "develop").
Every public method is an action. What goes in and out is plain data: None, bool, int, float, str, bytes, list, dict.

A refusal that the visitor should read (not a picture, an unknown word) is a value, {"refused": "why"}.
An exception means that something is broken: it reaches the caller as a DirtyError.
"""

from __future__ import annotations

import io
import os
import time
import warnings
from collections.abc import Iterator
from typing import Any

from gunicorn.dirty import DirtyApp
from landscape import draw_landscape
from markov import MarkovModel, read_language_reference
from PIL import Image, ImageOps, UnidentifiedImageError

# Only formats that people upload: Pillow knows dozens of others, and some of those start other programs to be read.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
# A file of a few kilobytes can unfold to gigabytes of pixels. Pillow warns when it reads such a size in the header:
# make that warning an error, so that nothing is unfolded.
MAX_PIXELS = 50_000_000
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.simplefilter("error", Image.DecompressionBombWarning)

SIZES = {"Large": 1200, "Medium": 600, "Small": 240, "Icon": 64}  # name: the longer side, in pixels
COLOURS = 6
SECONDS_PER_WORD = 0.045  # a Markov model is far quicker than that; a language model is not, and so one can watch it


class Pictures(DirtyApp):
    """Resizes pictures and finds their main colours. It keeps nothing, so every worker of the pool loads it."""

    def who(self) -> int:
        """The process that answers."""
        return os.getpid()

    def sample(self) -> bytes:
        """A landscape as JPEG, another one each time, for visitors who have no picture at hand."""
        return _jpeg(draw_landscape())

    def develop(self, data: bytes) -> dict[str, Any]:
        """Return the picture in several sizes (JPEG bytes) and its main colours (the most frequent first)."""
        started = time.perf_counter()
        try:
            picture = Image.open(io.BytesIO(data), formats=FORMATS)  # reads the header only
            upright = ImageOps.exif_transpose(picture)  # decodes: the place where a damaged file fails
        except UnidentifiedImageError:
            return _refuse(f"This file is not a picture that can be read here ({', '.join(FORMATS)}).")
        except (Image.DecompressionBombWarning, Image.DecompressionBombError):
            return _refuse(f"This picture has more than {MAX_PIXELS // 1_000_000} million pixels, the most taken here.")
        except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for damaged files
            return _refuse(f"This picture is damaged: {error}.")
        flat = _on_white(upright)
        return {
            "pid": os.getpid(),
            "original": {"width": upright.width, "height": upright.height, "format": picture.format},
            "sizes": [_resized(flat, name, side) for name, side in SIZES.items()],
            "colours": _main_colours(flat),
            "milliseconds": round((time.perf_counter() - started) * 1000),
        }


class Storyteller(DirtyApp):
    """Writes text, word by word. Its model is trained once, at start, and is too big to keep a copy in each worker."""

    workers = 1  # the pool loads this app in one of its workers; that worker serves every story

    def init(self) -> None:
        """Train the model. The worker takes no requests for this app before it is done."""
        self.model = MarkovModel(read_language_reference())

    def who(self) -> int:
        """The process that answers."""
        return os.getpid()

    def tell(self, opening: str) -> Iterator[dict[str, Any]]:
        """Yield one word at a time: an action that is a generator is a stream.

        It is closed when nobody listens any more, so a visitor who leaves stops the work.
        """
        if opening and not self.model.knows(opening):
            yield _refuse(f"“{opening}” is not in the text that the model has read. Try function, object or Python.")
            return
        for word in self.model.words(opening):
            yield {"pid": os.getpid(), "word": word}
            time.sleep(SECONDS_PER_WORD)


def _refuse(why: str) -> dict[str, Any]:
    return {"refused": why}


def _on_white(picture: Image.Image) -> Image.Image:
    """The picture as RGB; what was transparent is white."""
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layer = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _resized(picture: Image.Image, name: str, side: int) -> dict[str, Any]:
    copy = picture.copy()
    copy.thumbnail((side, side))  # keeps the proportions, never enlarges
    return {"name": name, "width": copy.width, "height": copy.height, "jpeg": _jpeg(copy)}


def _jpeg(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=86, optimize=True)
    return out.getvalue()


def _main_colours(picture: Image.Image) -> list[dict[str, Any]]:
    """Median cut on a small copy: the colours that stand for the picture, with their share of its area (0 to 1)."""
    small = picture.copy()
    small.thumbnail((200, 200))
    reduced = small.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, kmeans=2)
    palette = reduced.getpalette() or []
    counts = sorted(reduced.getcolors() or [], reverse=True)
    return [
        {"hex": "#" + bytes(palette[3 * index : 3 * index + 3]).hex(), "share": count / (small.width * small.height)}
        for count, index in ((count, index) for count, index in counts if isinstance(index, int))
    ]
