"""What a command says: tables and sentences for people, one JSON document for machines.

Results go to standard output; progress, notes and errors go to standard error.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

__all__ = ["Cell", "Output", "counted", "size_words"]

# Output that no terminal shows is never wrapped or cut.
_PIPE_WIDTH = 100_000
_UNIT = 1024

Cell = str | int | float | None


class Output:
    """Where a command's words go.

    Args:
        is_json: print one JSON document in place of tables and sentences.
    """

    def __init__(self, *, is_json: bool) -> None:
        self.is_json = is_json
        self._out = _console(is_error=False)
        self._err = _console(is_error=True)

    def document(self, value: object) -> None:
        """The one document of `--json`; nothing otherwise. Dataclasses, paths and bytes (as hex) may be in it."""
        if self.is_json:
            sys.stdout.write(json.dumps(value, default=_jsonable, ensure_ascii=False, indent=2, allow_nan=False) + "\n")

    def say(self, text: str) -> None:
        """A sentence for people."""
        if not self.is_json:
            self._out.print(_printable(text), markup=False, highlight=False, soft_wrap=True)

    def note(self, text: str, style: str = "") -> None:
        """A sentence beside the result: on standard error, also with `--json`."""
        self._err.print(_printable(text), markup=False, highlight=False, soft_wrap=True, style=style)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> None:
        """A table for people; numbers to the right."""
        if self.is_json:
            return
        cells = [tuple(row) for row in rows]
        table = Table(box=box.SIMPLE_HEAD if self._out.is_terminal else None, pad_edge=False, header_style="bold")
        for index, heading in enumerate(columns):
            is_number = bool(cells) and all(isinstance(row[index], (int, float)) for row in cells)
            table.add_column(heading, justify="right" if is_number else "left", overflow="fold")
        for row in cells:
            table.add_row(*(_cell(value) for value in row))
        if self._out.is_terminal:
            self._out.print(table)
            return
        with self._out.capture() as captured:
            self._out.print(table)
        # Cells are filled up with spaces, which only a terminal's box needs at the end of a line.
        sys.stdout.write("".join(line.rstrip() + "\n" for line in captured.get().splitlines()))

    @contextmanager
    def progress(self, description: str) -> Iterator[Callable[[float, str], None]]:
        """A bar on standard error where that is a terminal; gives a function of the fraction done and the stage."""
        if not self._err.is_terminal:
            yield _nobody_looks
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._err, transient=True) as bar:
            task = bar.add_task(description, total=1.0)
            yield lambda done, stage: bar.update(task, completed=done, description=f"{description}: {stage}")


def counted(number: int, one: str, several: str = "") -> str:
    """A number and what it counts: "1 face", "2 faces"."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def size_words(size_bytes: int) -> str:
    """A size for people: "1.5 MiB"."""
    size, units = float(size_bytes), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while size >= _UNIT and len(units) > 1:
        size /= _UNIT
        units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "bytes" else f"{size:.1f} {units[0]}"


def _jsonable(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (Path, BaseException)):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _console(*, is_error: bool) -> Console:
    stream = sys.stderr if is_error else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(file=stream, width=width, soft_wrap=not stream.isatty(), emoji=False)


def _cell(value: Cell) -> str:
    match value:
        case None:
            return ""
        case float():
            return f"{value:.3f}"
        case int():
            return f"{value:,}"
        case _:
            return _printable(value)


def _printable(text: str) -> str:
    """Names come from elsewhere: control characters and half surrogates are replaced, but for the ends of lines."""
    return "".join(
        "\ufffd" if letter != "\n" and unicodedata.category(letter) in {"Cc", "Cs"} else letter for letter in text
    )


def _nobody_looks(done: float, stage: str) -> None:
    """No bar is shown."""
