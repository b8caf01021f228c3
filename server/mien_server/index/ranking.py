"""Order of answers: similarity descending, equal ones by smaller ordinal, padding last."""

from __future__ import annotations

import numpy as np

from mien_server.index.request import Float32Array, Int64Array

__all__ = ["NO_ORDINAL", "best_of", "in_order", "padding", "with_ties_in_order"]

NO_ORDINAL = -1


def padding(probe_count: int, width: int) -> tuple[Int64Array, Float32Array]:
    """Answers that hold nothing: ordinals -1 and similarities -inf, both [probe_count, width]."""
    return (
        np.full((probe_count, width), NO_ORDINAL, np.int64),
        np.full((probe_count, width), -np.inf, np.float32),
    )


def in_order(ordinals: Int64Array, similarities: Float32Array) -> tuple[Int64Array, Float32Array]:
    """Each probe's answers [n, w], in order."""
    order = np.lexsort((ordinals, -similarities), axis=1)
    return np.take_along_axis(ordinals, order, 1), np.take_along_axis(similarities, order, 1)


def with_ties_in_order(ordinals: Int64Array, similarities: Float32Array) -> None:
    """Put equal similarities in order, in place, where the answers [n, w] descend already."""
    ties = (similarities[:, 1:] == similarities[:, :-1]) & (ordinals[:, 1:] != NO_ORDINAL)
    if not ties.any():
        return
    probes = np.flatnonzero(ties.any(axis=1))
    ordinals[probes], similarities[probes] = in_order(ordinals[probes], similarities[probes])


def best_of(parts: list[tuple[Int64Array, Float32Array]], width: int) -> tuple[Int64Array, Float32Array]:
    """The `width` best of several answers to the same probes, in order; padded where they hold fewer."""
    ordinals = np.concatenate([part[0] for part in parts], axis=1)
    similarities = np.concatenate([part[1] for part in parts], axis=1)
    ordinals, similarities = in_order(ordinals, similarities)
    if ordinals.shape[1] < width:
        parts = [(ordinals, similarities), padding(len(ordinals), width - ordinals.shape[1])]
        return np.hstack([part[0] for part in parts]), np.hstack([part[1] for part in parts])
    return np.ascontiguousarray(ordinals[:, :width]), np.ascontiguousarray(similarities[:, :width])
