"""What every group of methods stands on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from google.protobuf import field_mask_pb2

from mien_client._rpc.caller import Caller
from mien_client._rpc.window import StreamOptions

__all__ = ["CallGroup", "field_mask", "pages"]

_Item = TypeVar("_Item")


class CallGroup:
    """Methods that share one channel."""

    _caller: Caller

    def _stream_options(self, window: int, timeout_s: float | None) -> StreamOptions:
        options = self._caller.options
        return StreamOptions(
            window=window,
            attempts_max=options.attempts_max,
            initial_backoff_s=options.initial_backoff_s,
            timeout_s=timeout_s,
            metadata=self._caller.metadata,
        )


def pages(read_page: Callable[[str], tuple[list[_Item], str]]) -> Iterator[_Item]:
    """Every item of a paged list.

    Args:
        read_page: from a page token to the page's items and the next token, empty at the end.
    """
    token = ""
    while True:
        items, token = read_page(token)
        yield from items
        if not token:
            return


def field_mask(**fields: object) -> field_mask_pb2.FieldMask:
    """The names of the fields that were given.

    Raises:
        ValueError: none was: the contract reads an empty mask as "every field that is set".
    """
    given = [name for name, value in fields.items() if value is not None]
    if not given:
        raise ValueError(f"nothing to update: give one of {', '.join(fields)}")
    return field_mask_pb2.FieldMask(paths=given)
