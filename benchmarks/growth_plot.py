"""`python -m benchmarks.growth_plot`: draws build/bench/growth.json; needs matplotlib, which .venv-peers has."""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import REPOSITORY

__all__ = ["main"]

INCHES: Final = (9.0, 7.0)
DOTS_PER_INCH: Final = 110


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the picture."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth_plot", description=__doc__)
    parser.add_argument("--json", type=Path, default=REPOSITORY / "build" / "bench" / "growth.json")
    parser.add_argument("--png", type=Path, default=REPOSITORY / "docs" / "images" / "growth.png")
    chosen = parser.parse_args(arguments)
    report: dict[str, Any] = json.loads(chosen.json.read_text(encoding="utf-8"))
    seconds: list[dict[str, Any]] = report["seconds"]
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    figure, (times, agreement, size) = pyplot.subplots(
        3, 1, sharex=True, figsize=INCHES, height_ratios=(3, 1, 1.4), layout="constrained"
    )
    at = [one["second"] for one in seconds]
    pace = f"{report['rows_per_s']:,.0f} rows/s"
    times.set_title(f"{report['population']}, growing at {pace}: Identify, one probe over gRPC, each second")
    times.plot(at, [one["p99_ms"] for one in seconds], ".", color="tab:red", label="p99")
    times.plot(at, [one["p50_ms"] for one in seconds], ".", color="tab:blue", label="p50")
    times.set_yscale("log")
    times.set_ylabel("ms")
    times.legend(loc="upper left")
    agreement.plot(at, [one["agreement"] for one in seconds], ".", color="tab:green")
    agreement.set_ylabel("agreement with\nexact rank 1")
    agreement.set_ylim(min(0.98, *(one["agreement"] for one in seconds)) - 0.002, 1.002)
    size.plot(at, [one["rows"] for one in seconds], "-", color="black", label="in the gallery")
    size.plot(at, [one["tail_rows"] for one in seconds], "-", color="tab:gray", label="not indexed yet")
    size.set_ylabel("rows")
    size.legend(loc="upper left")
    size.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    size.set_xlabel("seconds; shaded: an index is being built")
    for one, after in itertools.pairwise(seconds):
        if one["state"] == "BUILDING":
            for axes in (times, agreement, size):
                axes.axvspan(one["second"], after["second"], color="tab:orange", alpha=0.15, linewidth=0)
    for axes in (times, agreement, size):
        axes.grid(visible=True, which="both", alpha=0.3)
    chosen.png.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(chosen.png, dpi=DOTS_PER_INCH)
    print(f"written to {chosen.png}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
