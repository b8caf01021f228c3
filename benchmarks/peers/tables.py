"""The report as tables, for the terminal and for docs/BENCHMARKS.md.

Times are processor time of the peer's process, which on a quiet core is the time that passes, and which others' work on
the same machine hardly moves. What the clock said stands in the JSON beside it.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["best_effort", "markdown", "print_tables"]

AGREEMENT_MIN: Final = 0.999
RECALL_MIN: Final = 0.95
PIPE_COLUMNS: Final = 170
HEADINGS: Final = (
    "system",
    "effort",
    "agreement",
    "decisions mated",
    "stranger",
    "one mated probe, ms: p50",
    "mean",
    "p99",
    "one stranger, ms: p50",
    "probes/s",
    "recall@10 @ ms",
    "build s",
    "anonymous MB",
    "disk MB",
)

Row = tuple[str, ...]


def best_effort(efforts: Sequence[Mapping[str, Any]], measure: str, enough: float) -> Mapping[str, Any]:
    """The cheapest effort that reached enough of a measure, or the one that reached most."""
    reached = [one for one in efforts if one[measure] >= enough]
    if reached:
        return min(reached, key=lambda one: float(one["mated"]["cpu_p50_ms"]))
    return max(efforts, key=lambda one: float(one[measure]))


def print_tables(report: Mapping[str, Any]) -> None:
    """One table a case, with rich where it is installed."""
    for name, case in report["cases"].items():
        rows = _rows(case)
        title = f"{name}: {_about(case)}"
        if importlib.util.find_spec("rich") is None:
            print("\n".join([title, *("  ".join(row) for row in [HEADINGS, *rows])]))
            continue
        from rich.console import Console
        from rich.table import Table

        table = Table(title=title)
        for position, heading in enumerate(HEADINGS):
            table.add_column(heading, justify="left" if position < 2 else "right")
        for row in rows:
            table.add_row(*(cell.replace("*", "") for cell in row))
        # A pipe has no width of its own.
        Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS).print(table)
        for line in _left_out(case):
            print(line)


def markdown(report: Mapping[str, Any]) -> str:
    """The same, ready to be pasted."""
    lines: list[str] = []
    for name, case in report["cases"].items():
        lines += [f"`{name}`: {_about(case)}", ""]
        lines += ["| " + " | ".join(HEADINGS) + " |", "|" + " --- |" * len(HEADINGS)]
        lines += ["| " + " | ".join(row) + " |" for row in _rows(case)]
        lines += ["", *(f"- {line}" for line in _left_out(case))]
        lines += [
            f"- {peer['title']} {peer['version']}: {peer['how']}" for peer in case["peers"].values() if "title" in peer
        ]
        lines.append("")
    return "\n".join(lines)


def _about(case: Mapping[str, Any]) -> str:
    raw = case["rows"] * case["dimension"] * 4 / 1e6
    faces = f"{case['faces_per_identity'] or 'a long tail of'} faces a person".replace("1 faces", "one face")
    return (
        f"{case['rows']:,} x {case['dimension']}, {faces}; the vectors alone are {raw:,.0f} MB; threshold "
        f"{case['threshold']:.3f}, which one stranger in a hundred reaches"
    )


def _rows(case: Mapping[str, Any]) -> list[Row]:
    """For each peer the cheapest effort that agreed enough, or its best, and one half as dear for the curve's sake."""
    return [row for peer in case["peers"].values() if "left_out" not in peer for row in _rows_of(peer)]


def _rows_of(peer: Mapping[str, Any]) -> list[Row]:
    best = best_effort(peer["identification"], "agreement", AGREEMENT_MIN)
    found = best_effort(peer["neighbors"], "recall_at_10", RECALL_MIN)
    half_ms = best["mated"]["cpu_p50_ms"] / 2
    cheaper = [one for one in peer["identification"] if one["mated"]["cpu_p50_ms"] <= half_ms]
    rows = []
    if cheaper:
        rows.append(_row(peer, max(cheaper, key=lambda one: float(one["agreement"])), ("", "", "", "")))
    build = peer["load_cpu_s"] + peer["index_cpu_s"]
    shared = (
        f"{found['recall_at_10']:.3f} @ {found['mated']['cpu_p50_ms']:.2f}",
        f"{build:,.1f}" if peer["load_cpu_s"] < 0.5 else f"{build:,.1f} (index {peer['index_cpu_s']:,.1f})",
        f"{peer['anonymous_bytes'] / 1e6:,.0f}",
        f"{peer['disk_bytes'] / 1e6:,.0f}",
    )
    rows.append(_row(peer, best, shared))
    return rows


def _row(peer: Mapping[str, Any], effort: Mapping[str, Any], shared: Row) -> Row:
    return (
        peer["title"],
        effort["effort"],
        f"{effort['agreement']:.4f}",
        f"{effort['mated_decisions']:.4f}",
        f"{effort['stranger_decisions']:.4f}",
        f"{effort['mated']['cpu_p50_ms']:.3f}",
        f"{effort['mated']['cpu_mean_ms']:.3f}",
        f"{effort['mated']['cpu_p99_ms']:.2f}",
        f"{effort['stranger']['cpu_p50_ms']:.3f}",
        f"{effort['probes_per_cpu_s']:,.0f}",
        *shared,
    )


def _left_out(case: Mapping[str, Any]) -> list[str]:
    return [f"{name}: left out: {peer['left_out']}" for name, peer in case["peers"].items() if "left_out" in peer]
