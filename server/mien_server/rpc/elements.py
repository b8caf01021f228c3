"""How many entries the lists of a message hold, counted on the wire, before memory is taken for them.

Two bytes of a message can become a hundred in memory: an empty text, an empty item. Parsing takes them before anybody
can count, so a long message is walked over first. What the walk does not understand it leaves to the parser to refuse.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

__all__ = ["ELEMENT_BYTES_MIN", "element_count"]

ELEMENT_BYTES_MIN = 2
"""A tag and a length: a message shorter than so many bytes an entry cannot hold more."""

_VARINT_TYPE, _EIGHT_BYTE_TYPE, _COUNTED_TYPE, _FOUR_BYTE_TYPE = 0, 1, 2, 5
_MORE = 0x80
"""A byte of a number from here on is followed by another."""


@dataclass(frozen=True, slots=True)
class _Field:
    is_repeated: bool
    message: Any


@cache
def _fields(message: Any) -> dict[int, _Field]:
    return {field.number: _Field(field.is_repeated, field.message_type) for field in message.fields}


def element_count(body: bytes, message: Any, most: int) -> int:
    """Entries of all lists and maps of a message, those of the messages in it included.

    Args:
        body: the message as it arrived.
        message: the descriptor of what it should be.
        most: stops counting beyond it.
    """
    return _Walk(body, most).count(0, len(body), message)


class _Walk:
    def __init__(self, body: bytes, most: int) -> None:
        self._body = body
        self._most = most
        self._count = 0

    def count(self, start: int, end: int, message: Any) -> int:
        """Count what lies between two places; answers the count so far."""
        body, fields, position = self._body, _fields(message), start
        while position < end and self._count <= self._most:
            tag = body[position]
            position += 1
            if tag >= _MORE:
                tag, position = _varint(body, position - 1, end)
            field = fields.get(tag >> 3)
            if field is not None and field.is_repeated:
                self._count += 1
            wire_type = tag & 7
            if wire_type == _COUNTED_TYPE:
                length = body[position] if position < end else 0
                position += 1
                if length >= _MORE:
                    length, position = _varint(body, position - 1, end)
                if field is not None and field.message is not None:
                    self.count(position, min(end, position + length), field.message)
                position += length
            elif wire_type == _VARINT_TYPE:
                _, position = _varint(body, position, end)
            elif wire_type == _EIGHT_BYTE_TYPE:
                position += 8
            elif wire_type == _FOUR_BYTE_TYPE:
                position += 4
            else:
                break
        return self._count


def _varint(body: bytes, position: int, end: int) -> tuple[int, int]:
    """The number at a place and the place behind it; 0 and the end where there is none."""
    number = shift = 0
    while position < end:
        byte = body[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < _MORE:
            return number, position
        shift += 7
        if shift > 63:
            break
    return 0, end
