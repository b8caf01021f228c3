"""Flips random bytes of copies of a store and reads them: run in a process of its own, which damage must not end.

Arguments: the store, a folder to work in, the first seed, how many. Prints one line of JSON a seed.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from pathlib import Path
from typing import Any

from mien_server.errors import MienError
from tests.recovery.corruption_support import contents, derived
from tests.storage_support import open_store

FILES = ("FORMAT", "meta/data.mdb", "vectors/00000001/rows.vec", "vectors/00000002/rows.vec")


def outcome(store: Path, truth: dict[str, Any], truth_derived: dict[str, Any]) -> str:
    """Says "whole", "refused REASON", "doubted" when only the check finds it, "SERVED" when damage was read as data."""
    try:
        with open_store(store) as opened:
            if contents(opened) != truth:
                return "SERVED"
            try:
                is_derived_whole = derived(opened) == truth_derived
            except MienError:
                is_derived_whole = False
            with opened.view() as view:
                doubts = view.check()
            if doubts:
                return "doubted"
            return "whole" if is_derived_whole else "SERVED"
    except MienError as error:
        return f"refused {error.reason}"


def main() -> None:
    """Flip and read."""
    source, work, first, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    with open_store(source) as opened:
        truth, truth_derived = contents(opened), derived(opened)
    for seed in range(first, first + count):
        generator = random.Random(seed)
        store = work / "flipped"
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(source, store)
        path = store / generator.choices(FILES, weights=(1, 30, 3, 3))[0]
        content = bytearray(path.read_bytes())
        for _ in range(generator.choice((1, 1, 4, 64))):
            content[generator.randrange(len(content))] ^= generator.randrange(1, 256)
        path.write_bytes(content)
        print(json.dumps({"seed": seed, "begun": True}), flush=True)
        print(json.dumps({"seed": seed, "outcome": outcome(store, truth, truth_derived)}), flush=True)


if __name__ == "__main__":
    main()
