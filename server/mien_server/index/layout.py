"""How a generation is laid out: rules from measurements, each a pure function of the gallery's size and dimension."""

from __future__ import annotations

from typing import assert_never

from mien_server.errors import PreconditionFailed
from mien_server.index.faiss_adapter import CodeSpecification
from mien_server.records.policies import IndexCode

__all__ = ["candidate_specifications", "index_bytes", "list_count", "sample_row_count", "subquantizer_count"]

LIST_ROWS = 4_000
"""Rows of a list. A FastScan code costs about 1 ns in a long list and a list some microseconds, so few lists of 2,000
to 8,000 rows are several times faster than the customary 4 sqrt(rows)."""

HIGH_DIMENSION_MIN = 256
COMPONENTS_PER_CODE_HIGH = 8
COMPONENTS_PER_CODE_LOW = 2
"""Components that share one 4-bit code. Embeddings of low dimension spend their components on telling people apart."""

SAMPLE_ROWS_PER_LIST = 128
SAMPLE_ROWS_MIN = 16_384
SAMPLE_ROWS_MAX = 262_144

ORDINAL_BYTES = 8
FLOAT32_BYTES = 4


def list_count(live_rows: int) -> int:
    """Inverted lists for so many rows: the power of two that brings a list nearest to LIST_ROWS, at least 1.

    64 for 200,000 rows, 256 for a million, 2,048 for ten million: always between 2,828 and 5,657 rows a list.
    """
    # 2 ** (n + 1/2) <= rows / LIST_ROWS, in whole numbers: squares on both sides.
    ratio_squared = live_rows * live_rows // (LIST_ROWS * LIST_ROWS)
    return int(1 << max(0, ratio_squared.bit_length() // 2))


def subquantizer_count(dimension: int) -> int:
    """4-bit codes of a row: one for 8 components from 256 dimensions on, one for 2 below; less where indivisible."""
    target = COMPONENTS_PER_CODE_HIGH if dimension >= HIGH_DIMENSION_MIN else COMPONENTS_PER_CODE_LOW
    components = max(count for count in range(1, target + 1) if dimension % count == 0)
    return dimension // components


def candidate_specifications(code: IndexCode, dimension: int, live_rows: int) -> list[CodeSpecification]:
    """Layouts worth trying on the gallery's own faces, the preferred first.

    Whether residuals help depends on the gallery's shape: they do in a narrow cone and do not in a wide one.

    Raises:
        PreconditionFailed: the code is FLAT.
    """
    lists = list_count(live_rows)
    match code:
        case IndexCode.FLAT:
            raise PreconditionFailed("a gallery with the code FLAT has no generation", reason="INDEX_CODE_FLAT")
        case IndexCode.SCALAR_8BIT:
            return [CodeSpecification(lists, 0, residual=False)]
        case IndexCode.AUTOMATIC | IndexCode.PQ_FASTSCAN:
            subquantizers = subquantizer_count(dimension)
            return [CodeSpecification(lists, subquantizers, residual) for residual in (False, True)]
        case _:
            assert_never(code)


def sample_row_count(specification: CodeSpecification, live_rows: int, dimension: int, memory_bytes_max: int) -> int:
    """Rows to train on: enough for each centroid, at most a quarter of the memory."""
    wanted = min(max(SAMPLE_ROWS_PER_LIST * specification.lists, SAMPLE_ROWS_MIN), SAMPLE_ROWS_MAX)
    affordable = memory_bytes_max // 4 // (dimension * FLOAT32_BYTES)
    return max(1, min(wanted, affordable, live_rows))


def index_bytes(specification: CodeSpecification, live_rows: int, dimension: int) -> int:
    """Memory of the lists, about."""
    code_bytes = (specification.subquantizers + 1) // 2 if specification.subquantizers else dimension
    return live_rows * (code_bytes + ORDINAL_BYTES)
