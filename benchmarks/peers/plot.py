"""`python -m benchmarks.peers.plot`: agreement against time for each case of build/bench/peers.json, as pictures.

Every system is a line through its efforts, those left out that cost more and agree less; to the left and up is better.
The axis is drawn by the share of mated probes that did *not* agree with exact search, so that .9, .99 and .999 lie
equally far apart.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import REPOSITORY

__all__ = ["main"]

INCHES: Final = (9.0, 5.5)
DOTS_PER_INCH: Final = 110
MISSED_MIN: Final = 4e-4
"""Drawn for those who missed none of the probes: fewer than one in two thousand cannot be told from none."""

STYLES: Final = {
    "mien": ("black", "o"),
    "faiss-lists": ("tab:gray", "s"),
    "faiss-graph": ("tab:olive", "^"),
    "scann": ("tab:green", "D"),
    "qdrant": ("tab:red", "v"),
    "hnswlib": ("tab:blue", "<"),
    "lancedb": ("tab:orange", "P"),
    "chromadb": ("tab:purple", "X"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a picture for each case."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.plot", description=__doc__)
    parser.add_argument("--json", type=Path, default=REPOSITORY / "build" / "bench" / "peers.json")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "docs" / "images")
    chosen = parser.parse_args(arguments)
    report: dict[str, Any] = json.loads(chosen.json.read_text(encoding="utf-8"))
    chosen.folder.mkdir(parents=True, exist_ok=True)
    importlib.import_module("matplotlib").use("Agg")
    for name, case in report["cases"].items():
        path = chosen.folder / f"peers-{name}.png"
        _draw(name, case, path)
        print(f"written to {path}")
    return 0


def _draw(name: str, case: dict[str, Any], path: Path) -> None:
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(figsize=INCHES, layout="constrained")
    for peer_name, peer in case["peers"].items():
        if "left_out" in peer:
            continue
        colour, marker = STYLES[peer_name]
        efforts = _best(peer["identification"])
        times = [one["mated"]["cpu_mean_ms"] for one in efforts]
        missed = [max(MISSED_MIN, 1.0 - one["agreement"]) for one in efforts]
        width = 2.5 if peer_name == "mien" else 1.3
        label = peer["title"].replace("*", "")
        axes.plot(times, missed, color=colour, marker=marker, linewidth=width, markersize=6, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.invert_yaxis()
    ticks = [0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, MISSED_MIN]
    axes.set_yticks(ticks, [*(f"{1 - tick:g}" for tick in ticks[:-1]), "1 or nearly"])
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_ticks([tick for tick in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if _is_within(tick, axes)])
    axes.grid(visible=True, alpha=0.3)
    axes.set_xlabel("mean processor time of one mated probe, ms")
    axes.set_ylabel("agreement with exact rank 1")
    faces = {1: "one face", 5: "five faces"}.get(case["faces_per_identity"], "a long tail of faces")
    axes.set_title(f"{case['population']}: {case['rows']:,} x {case['dimension']}, {faces} a person; one core")
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=DOTS_PER_INCH, metadata={"Title": name})
    pyplot.close(figure)


def _best(efforts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """From the cheapest to the dearest those that agree more often than every cheaper one; the cheapest of equals."""
    best: list[dict[str, Any]] = []
    for one in sorted(efforts, key=lambda one: float(one["mated"]["cpu_mean_ms"])):
        if not best or one["agreement"] > best[-1]["agreement"]:
            best.append(one)
    return best


def _is_within(value: float, axes: Any) -> bool:
    low, high = axes.get_xlim()
    return bool(low <= value <= high)


if __name__ == "__main__":
    sys.exit(main())
