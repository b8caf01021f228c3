"""How a generation is laid out: rules from measurements, each a pure function of the gallery's size and dimension.

The rules and the measurements behind them are tabled in docs/ARCHITECTURE.md, section "Searching".
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import assert_never

from mien_server.errors import PreconditionFailed
from mien_server.index.faiss_adapter import CodeSpecification
from mien_server.records.policies import IndexCode

__all__ = [
    "CODES_COARSE",
    "CODES_FINE",
    "build_bytes",
    "candidate_specifications",
    "index_bytes",
    "list_count",
    "sample_row_count",
    "scan_ns",
    "subquantizer_count",
]

LISTS_PER_ROWS_POWER = 0.06
"""Lists grow as the two-thirds power of the rows. More lists leave fewer rows to be scanned for the same agreement, but
each costs about a microsecond when visited, and a comparison with every probe and every row that is added."""

COMPONENTS_PER_CODE_MAX = 8
CODES_FINE, CODES_COARSE = 128, 64
"""4-bit codes of a row, about, whatever the dimension: it is bits a row, not bits a component, that tell how well codes
order rows. The coarse ones, half as long, are scanned in half the time and need a short list of some hundred rows; the
fine ones bring the best row of a million into a short list of 50 to 100."""

CODES_MEDIUM = 96
"""Of one direction each, of galleries of few components."""

COARSE_SHARE_MAX = 0.75
"""Of the fine codes: what has more is scanned hardly faster."""

DIRECTIONS_PER_CODE = 4
"""Where coarse codes would each be of more components, vectors are projected onto so many directions a code first, the
leading ones of the gallery: 256 of 512. What lies along the others tells people apart less than codes that it makes
coarser would. Where they would be of fewer, onto one direction a code, which pays in a narrow cone."""

# Measured on one AVX-512 core; only their proportions matter.
PACKED_NS_PER_CODE = 0.028
SCALAR_NS_PER_COMPONENT = 0.09
RESIDUAL_FACTOR = 1.5
"""A table for each list."""

SAMPLE_ROWS_PER_LIST = 96
SAMPLE_ROWS_MIN = 16_384
SAMPLE_ROWS_MAX = 262_144

ORDINAL_BYTES = 8
FLOAT32_BYTES = 4


def list_count(live_rows: int) -> int:
    """Inverted lists for so many rows: the power of two nearest to .06 rows^(2/3), at least 1.

    32 for 20,000 rows, 256 for 200,000, 512 for a million, 2,048 for ten million.
    """
    return int(1 << max(0, round(math.log2(max(1.0, LISTS_PER_ROWS_POWER * live_rows ** (2 / 3))))))


def subquantizer_count(dimension: int, codes: int) -> int:
    """4-bit codes of a row: about so many, each of equally many components, 8 at most; more where it is indivisible."""
    components = min(-(-dimension // codes), COMPONENTS_PER_CODE_MAX)
    while dimension % components:
        components -= 1
    return dimension // components


def candidate_specifications(code: IndexCode, dimension: int, live_rows: int) -> list[CodeSpecification]:
    """Layouts worth trying on the gallery's own faces, the one that is scanned fastest first.

    Residuals cost a table for each list; they help where a gallery's faces fill a narrow cone and codes are coarse.

    Raises:
        PreconditionFailed: the code is FLAT.
    """
    lists = list_count(live_rows)
    scalar = CodeSpecification(lists, 0, residual=False)
    match code:
        case IndexCode.FLAT:
            raise PreconditionFailed("a gallery with the code FLAT has no generation", reason="INDEX_CODE_FLAT")
        case IndexCode.SCALAR_8BIT:
            return [scalar]
        case IndexCode.AUTOMATIC | IndexCode.PQ_FASTSCAN:
            fine = subquantizer_count(dimension, CODES_FINE)
            plain = CodeSpecification(lists, fine, residual=False)
            candidates = [*_coarse_specifications(lists, dimension, fine), plain, replace(plain, residual=True)]
            return candidates if code is IndexCode.PQ_FASTSCAN else [*candidates, scalar]
        case _:
            assert_never(code)


def _coarse_specifications(lists: int, dimension: int, fine: int) -> list[CodeSpecification]:
    """Layouts of fewer codes than the fine ones."""
    if dimension > CODES_COARSE * DIRECTIONS_PER_CODE:
        directions = CODES_COARSE * DIRECTIONS_PER_CODE
        return [CodeSpecification(lists, CODES_COARSE, residual=False, directions=directions)]
    plain = CodeSpecification(lists, subquantizer_count(dimension, CODES_COARSE), residual=False)
    medium = CodeSpecification(lists, CODES_MEDIUM, residual=False, directions=CODES_MEDIUM)
    return [one for one in (plain, medium) if one.subquantizers <= fine * COARSE_SHARE_MAX]


def scan_ns(specification: CodeSpecification, dimension: int) -> float:
    """What scanning one row's code takes, about, on one core, where lists come from memory rather than caches."""
    if not specification.subquantizers:
        return SCALAR_NS_PER_COMPONENT * dimension
    row_ns = PACKED_NS_PER_CODE * specification.subquantizers
    return row_ns * RESIDUAL_FACTOR if specification.residual else row_ns


def sample_row_count(lists: int, live_rows: int, dimension: int, memory_bytes_max: int) -> int:
    """Rows to train on: enough for each centroid, at most a quarter of the memory."""
    wanted = min(max(SAMPLE_ROWS_PER_LIST * lists, SAMPLE_ROWS_MIN), SAMPLE_ROWS_MAX)
    affordable = memory_bytes_max // 4 // (dimension * FLOAT32_BYTES)
    return max(1, min(wanted, affordable, live_rows))


def index_bytes(specification: CodeSpecification, live_rows: int, dimension: int) -> int:
    """Memory of the lists, about."""
    code_bytes = (specification.subquantizers + 1) // 2 if specification.subquantizers else dimension
    return live_rows * (code_bytes + ORDINAL_BYTES)


def build_bytes(specification: CodeSpecification, live_rows: int, dimension: int) -> int:
    """Memory that a build needs, about: lists grow by doubling, hence half as much again; samples take a quarter."""
    return index_bytes(specification, live_rows, dimension) * 3 // 2 * 4 // 3
