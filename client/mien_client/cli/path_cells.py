"""Paths in tables: shortened in their middle where a terminal is narrow."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.text import Text

__all__ = ["PathCell", "shortened"]

_GAP = "..."


class PathCell:
    """A table's cell with a path, which rich draws as wide as there is room."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> Iterator[Text]:
        yield Text(shortened(self._path, options.max_width), no_wrap=True, overflow="crop")

    def __rich_measure__(self, _console: Console, options: ConsoleOptions) -> Measurement:
        widest = cell_len(self._path)
        return Measurement(min(widest, len(_GAP)), widest).with_maximum(options.max_width)


def shortened(path: str, width: int) -> str:
    """A path in at most `width` columns of a terminal; its file's name stays whole if there is room for it."""
    if cell_len(path) <= width:
        return path
    room = max(0, width - cell_len(_GAP))
    name = path[path.rfind("/") :]
    tail_width = cell_len(name) if cell_len(name) <= room else room - room // 2
    tail = path
    while cell_len(tail) > tail_width:
        tail = tail[1:]
    return f"{set_cell_size(path, room - cell_len(tail))}{_GAP}{tail}"[:width]
