"""What a command says: tables and sentences for people, one JSON document for machines.

Results go to standard output; progress, notes and errors go to standard error.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from mien_client import Threshold
from mien_client.cli.jsonable import jsonable
from mien_client.cli.path_cells import PathCell

__all__ = ["Column", "Output", "counted", "in_short"]

# Output that no terminal shows is never wrapped or cut.
_PIPE_WIDTH = 100_000

# A heading, or a heading and how its cells are shown: "right" for numbers, "whole" for what is never wrapped, and
# "path" for what loses its middle in a narrow terminal.
Column = str | tuple[str, str]
Cell = str | int | float | Text | None


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
        """The one document of `--json`; nothing otherwise."""
        if self.is_json:
            sys.stdout.write(json.dumps(jsonable(value), ensure_ascii=False, indent=2, allow_nan=False) + "\n")

    def say(self, text: str | Text) -> None:
        """A sentence for people."""
        if not self.is_json:
            self._out.print(_safe(text), markup=False, highlight=False, soft_wrap=True)

    def note(self, text: str, style: str = "") -> None:
        """A sentence beside the result: on standard error, also with `--json`."""
        self._err.print(_safe(text), markup=False, highlight=False, soft_wrap=True, style=style)

    @property
    def can_ask(self) -> bool:
        """Whether somebody is there to answer."""
        return sys.stdin.isatty() and self._err.is_terminal

    def is_agreed(self, question: str) -> bool:
        """Ask for a yes on the terminal."""
        sys.stderr.write(f"{_printable(question)} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[Cell]], title: str = "") -> None:
        """A table for people; as wide as it needs to be where no terminal shows it."""
        if self.is_json:
            return
        is_terminal = self._out.is_terminal
        headings = [column if isinstance(column, str) else column[0] for column in columns]
        table = Table(
            title=title or None,
            title_justify="left",
            title_style="bold",
            header_style="bold",
            show_header=any(headings),
            box=box.SIMPLE_HEAD if is_terminal else None,
            pad_edge=False,
            collapse_padding=is_terminal,
            show_edge=False,
        )
        kinds = ["left" if isinstance(column, str) else column[1] for column in columns]
        for kind, heading in zip(kinds, headings, strict=True):
            is_whole = kind in {"right", "whole"}
            table.add_column(heading, justify="right" if kind == "right" else "left", overflow="fold", no_wrap=is_whole)
        for row in rows:
            cells = (_cell(value) for value in row)
            table.add_row(
                *(PathCell(cell.plain) if kind == "path" else cell for kind, cell in zip(kinds, cells, strict=True))
            )
        if is_terminal:
            self._out.print(table)
            return
        with self._out.capture() as captured:
            self._out.print(table)
        # Cells are filled up with spaces, which only a terminal's box needs at the end of a line.
        sys.stdout.write("".join(line.rstrip() + "\n" for line in captured.get().splitlines()))

    @contextmanager
    def progress(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        """A progress bar on standard error where that is a terminal; gives a function that advances it."""
        if not self._err.is_terminal or total == 0:
            yield _no_progress
            return
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._err, transient=True) as bar:
            task = bar.add_task(description, total=total)
            yield lambda count: bar.advance(task, count)

    @contextmanager
    def fraction(self, description: str) -> Iterator[Callable[[float, str], None]]:
        """A bar for work whose progress is a fraction and a stage's name."""
        if not self._err.is_terminal:
            yield _no_fraction
            return
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.percentage:3.0f} %"))
        with Progress(*columns, console=self._err, transient=True) as bar:
            task = bar.add_task(description, total=1.0)
            yield lambda done, stage: bar.update(task, completed=done, description=f"{description}: {stage}")


def counted(number: int, one: str, several: str = "") -> str:
    """A number and what it counts: "1 face", "2 faces".

    Args:
        number: how many.
        one: the word for one.
        several: the word for others; `one` with an s if absent.
    """
    return f"{number} {one if number == 1 else several or one + 's'}"


def in_short(threshold: Threshold) -> str:
    """What a threshold rests on, without the protocol of its measurement, which `--json` tells."""
    return threshold.detail.partition(";")[0].rstrip(".")


def _console(*, is_error: bool) -> Console:
    stream = sys.stderr if is_error else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(file=stream, width=width, soft_wrap=not stream.isatty(), emoji=False)


def _cell(value: Cell) -> Text:
    match value:
        case Text():
            return Text(_printable(value.plain), style=value.style)
        case None:
            return Text("")
        case float():
            return Text(f"{value:.3f}")
        case _:
            return Text(_printable(str(value)))


def _safe(text: str | Text) -> str | Text:
    """What is said may have several lines; nothing in it may steer the terminal."""
    if isinstance(text, Text):
        return text
    return "\n".join(_printable(line) for line in text.split("\n"))


def _printable(text: str) -> str:
    """Names of files and people come from elsewhere: control characters and half surrogates are replaced."""
    return "".join("\ufffd" if unicodedata.category(letter) in {"Cc", "Cs"} else letter for letter in text)


def _no_progress(count: int) -> None:
    """Nobody looks."""


def _no_fraction(done: float, stage: str) -> None:
    """Nobody looks."""
