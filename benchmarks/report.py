"""Figures as a table for people and as JSON for machines."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import Figure

__all__ = ["print_table", "write_json", "write_markdown"]

HEADINGS = ("figure", "value", "beside", "ratio", "wanted", "")
PIPE_COLUMNS = 140


def write_json(path: Path, facts: dict[str, object], figures: Sequence[Figure], skipped: dict[str, str]) -> None:
    """Commit, machine, figures, and why any were left out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {**facts, "figures": [figure.to_json() for figure in figures], "skipped": skipped}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_markdown(path: Path, facts: dict[str, object], figures: Sequence[Figure]) -> None:
    """The table and what each figure compares, ready to be pasted into docs/BENCHMARKS.md."""
    lines = [f"{facts['rows']:,} rows, commit {facts['commit']}, {facts['time']}.", ""]
    lines += ["| " + " | ".join(HEADINGS) + " |", "| " + " | ".join("---" for _ in HEADINGS) + " |"]
    lines += ["| `" + "` | ".join([cells[0], " | ".join(cells[1:])]) + " |" for cells in map(_cells, figures)]
    lines += ["", *(f"- `{figure.name}`: {figure.detail}." for figure in figures)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def print_table(figures: Sequence[Figure]) -> None:
    """With rich where it is installed."""
    rows = [_cells(figure) for figure in figures]
    if importlib.util.find_spec("rich") is None:
        _print_plain(rows)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for position, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if position in {0, 5} else "right", no_wrap=position == 0)
    for row in rows:
        table.add_row(*row)
    # A pipe has no width of its own.
    Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS).print(table)


def _cells(figure: Figure) -> tuple[str, ...]:
    target = figure.target
    return (
        figure.name,
        f"{_short(figure.value)} {figure.unit}",
        f"{_short(figure.baseline)} {figure.unit}",
        f"{figure.ratio:.3g}" if figure.unit != "share" else f"{figure.ratio:.4f}",
        "" if target is None else target.text,
        "" if target is None else "met" if target.is_met else "NOT MET",
    )


def _short(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _print_plain(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in [HEADINGS, *rows]) for column in range(len(HEADINGS))]
    for row in [HEADINGS, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
