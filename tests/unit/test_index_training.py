"""Of the layouts that fit, the one that costs least is trained: scanning codes, and rescoring what they leave open."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.generators import face128, face512
from mien_server.index.training import Cost, is_better, trained_quantizer
from tests.index_support import Float32Array, job_of, rows_in_file

LACKING = Cost(math.inf, 0.02)


@pytest.mark.parametrize(
    ("longer", "shorter", "better"),
    [
        (Cost(800.0, 0.0), Cost(1000.0, 0.0), True),
        # Not for a few percent: they take twice the memory.
        (Cost(950.0, 0.0), Cost(1000.0, 0.0), False),
        (Cost(9e9, 0.0), LACKING, True),
        (Cost(math.inf, 0.0185), LACKING, False),
        (Cost(math.inf, 0.01), LACKING, True),
        (LACKING, Cost(9e9, 0.0), False),
    ],
)
def test_longer_codes_must_cost_clearly_less_or_find_what_shorter_ones_cannot(
    longer: Cost, shorter: Cost, *, better: bool
) -> None:
    """Time decides between two that find enough; where one does not, finding does."""
    assert is_better(longer, shorter) == better


def test_eight_bits_a_component_must_find_far_more() -> None:
    """They take many times as long as any other code, wherever the others leave something to be found."""
    assert not is_better(Cost(9e9, 0.0), LACKING, is_scalar=True)
    assert is_better(Cost(9e9, 0.0), Cost(math.inf, 0.06), is_scalar=True)


def layout_of(folder: Path, vectors: Float32Array, recall_target: float = 0.999) -> str:
    rows = rows_in_file(folder / "vectors", vectors)
    job = replace(job_of(rows), default_recall_target=recall_target)
    return trained_quantizer(job, rows.vectors, np.arange(rows.row_count))[1].name


def test_faces_along_few_directions_get_short_codes_of_these(tmp_path: Path) -> None:
    """Embeddings of faces have most of what tells people apart along some of their directions."""
    assert layout_of(tmp_path, face512(3).gallery(6000).vectors) == "PCAR256,IVF16,PQ64x4fs"


@pytest.mark.parametrize(("recall_target", "layout"), [(0.999, "PCAR96,IVF16,PQ96x4fs"), (0.8, "IVF16,PQ64x4fs")])
def test_a_narrow_cone_gets_codes_of_stretched_directions(tmp_path: Path, recall_target: float, layout: str) -> None:
    """Three quarters as many codes as there are components do there; fewer for who asks for less."""
    assert layout_of(tmp_path, face128(3).gallery(6000).vectors, recall_target) == layout
