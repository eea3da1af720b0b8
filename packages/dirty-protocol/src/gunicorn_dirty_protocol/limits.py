"""How much a peer may make us hold: the limits that encoder, decoder and frame decoder take as one parameter."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["DEFAULT_LIMITS", "UNCHECKED", "V1_LIMITS", "Limits"]

MIB = 1024 * 1024
UNCHECKED = 128


@dataclass(frozen=True)
class Limits:
    """Bounds on one message. The defaults are those of protocol version 1 (depth excepted, which v1 leaves open).

    :ivar max_payload: bytes of a frame's payload
    :ivar max_length: bytes of one str, bytes or extension value
    :ivar max_items: items of one list, set or dict
    :ivar max_depth: lists, dicts and sets inside one another; a payload's outer dict is the first
    :ivar extensions: whether values that v1 cannot carry may be carried in extension codes; False for a strict v1 peer
    """

    max_payload: int = 64 * MIB
    max_length: int = 64 * MIB
    max_items: int = 1024 * 1024
    max_depth: int = 512
    extensions: bool = True
    # The encoder checks no str shorter than this many bytes: UNCHECKED, or 0 when max_length is below that.
    unchecked: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("max_payload", "max_length", "max_items", "max_depth"):
            value = getattr(self, name)
            if not 0 <= value <= 0xFFFFFFFF:
                raise ValueError(f"{name} is {value!r}; the wire can express 0 to 4294967295")
        object.__setattr__(self, "unchecked", UNCHECKED if self.max_length >= UNCHECKED else 0)


DEFAULT_LIMITS = Limits()
# For a peer that knows nothing but version 1.
V1_LIMITS = Limits(extensions=False)
