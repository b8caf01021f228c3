"""Probes made of a gallery's own faces, to measure how often an approximate search agrees with the exact one.

A face whose person has other faces is used as it is, and left out of its own answer: what it should find are that
person's other faces. A face that is its person's only one is changed as another photograph of the person might, and
should find the face it was made from.

The change must be neither too easy nor too hard. Plain noise is far too easy: it leads away from the strangers that a
second photograph is as near to as the first. So photographs are taken to be normally distributed with the gallery's
own mean and covariance, of which a part lies within a person, and the second is drawn given the first. How much lies
within a person, and where, was measured on two quite different populations (FaceNet, 512-d, and dlib, 128-d); it came
out alike: .28 of the variance, spread over the directions as the .56th power of the gallery's variance.

A search that misses one probe in a thousand misses the hard ones: photographs unlike the person's others. To see such
rates with few probes, half of the probes are drawn from the hardest eighth, and count for an eighth: half of these
from its hardest quarter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from mien_server.index.request import Float32Array, Int64Array
from mien_server.index.rescore import StoredVectors, float32_rows

__all__ = ["ProbeSet", "SecondPhotographs", "changed_faces", "choose_probes"]

WITHIN_SHARE = 0.28
"""Share of a gallery's variance that lies within persons."""

WITHIN_EXPONENT = 0.56
WITHIN_SHARE_OF_DIRECTION_MAX = 0.98
FIRST_NOISE_LOG_DEVIATION, SECOND_NOISE_LOG_DEVIATION = 0.2, 0.3
"""Some photographs are worse than others: standard deviation of the logarithm of the noise's scale, of the stored one,
as far as the photograph does not tell, and of the new one."""

COVARIANCE_ROWS_MAX = 4096
POOL_PROBES_FOR_EACH = 8
STRATA = ((1 / 32, 1 / 4), (3 / 32, 1 / 4), (7 / 8, 1 / 2))
"""Share of the pool, the hardest first, and share of the probes that are drawn from it."""


@dataclass(frozen=True, slots=True)
class ProbeSet:
    """Probes and the row that each must not find.

    Attributes:
        vectors: float32 [n, dimension], unit norm.
        left_out: int64 [n]: the probe's own ordinal, or -1 where it is a changed face.
        persons: uint32 [n]: the identity number of the probe's person.
        weights: float64 [n], of sum 1: what each probe counts for in a mean.
    """

    vectors: Float32Array
    left_out: Int64Array
    persons: npt.NDArray[np.uint32]
    weights: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SecondPhotographs:
    """What another photograph of a face might look like in one gallery: a normal distribution given the first.

    Attributes:
        mean: float32 [dimension].
        directions: float32 [dimension, dimension], columns: the gallery's principal directions.
        between_shares: float32 [dimension]: share of the variance along each direction that lies between persons.
        deviations: float32 [dimension]: of the gallery along each direction.
    """

    mean: Float32Array
    directions: Float32Array
    between_shares: Float32Array
    deviations: Float32Array

    @classmethod
    def like(cls, faces: Float32Array) -> Self:
        """After random faces [m, dimension] of the gallery."""
        mean = faces.mean(axis=0)
        centred = faces - mean
        variances, directions = np.linalg.eigh(centred.T @ centred / np.float32(len(faces)))
        variances = np.maximum(variances, 1e-12)
        within = _within_variances(variances.astype(np.float64))
        return cls(
            mean=mean,
            directions=directions.astype(np.float32),
            between_shares=(1 - within / variances).astype(np.float32),
            deviations=np.sqrt(variances).astype(np.float32),
        )

    def of(self, faces: Float32Array, generator: np.random.Generator) -> Float32Array:
        """One more photograph of each face [n, dimension], unit norm."""
        along = (faces - self.mean) @ self.directions
        # Of a bad first photograph less is the person's, and the second may lie anywhere among people. Such pairs are
        # the hard ones: a second photograph that is bad itself leads away from strangers as well.
        first_noise, second_noise = (
            np.exp(deviation * generator.standard_normal((len(faces), 1), np.float32))
            for deviation in (FIRST_NOISE_LOG_DEVIATION, SECOND_NOISE_LOG_DEVIATION)
        )
        between, within = self.between_shares, 1 - self.between_shares
        known = between / (between + within * first_noise**2)
        unsure = np.sqrt(between * (1 - known))
        # The person's true face is known only as well as one photograph tells, and the new one has noise of its own.
        changes = unsure * generator.standard_normal(along.shape, np.float32)
        changes += np.sqrt(within) * second_noise * generator.standard_normal(along.shape, np.float32)
        photographs = (known * along + self.deviations * changes) @ self.directions.T + self.mean
        photographs /= np.maximum(np.linalg.norm(photographs, axis=1, keepdims=True), 1e-12)
        return np.ascontiguousarray(photographs, np.float32)


def changed_faces(
    faces: Float32Array, count: int, generator: np.random.Generator
) -> tuple[Float32Array, npt.NDArray[np.float64]]:
    """About `count` second photographs of some of these faces [m, dimension], and their weights, as in a ProbeSet."""
    some = generator.permutation(len(faces))[: POOL_PROBES_FOR_EACH * count]
    first = faces[some]
    second = SecondPhotographs.like(faces[some[:COVARIANCE_ROWS_MAX]]).of(first, generator)
    chosen, weights = _stratified(np.einsum("ij,ij->i", first, second), count, generator)
    return np.ascontiguousarray(second[chosen]), weights


def choose_probes(
    vectors: StoredVectors,
    live_ordinals: Int64Array,
    identity_numbers: npt.NDArray[np.uint32],
    count: int,
    generator: np.random.Generator,
) -> ProbeSet:
    """About `count` probes from random live faces; every face once when there are no more.

    Args:
        vectors: [row_count, dimension].
        live_ordinals: int64, ascending.
        identity_numbers: uint32 [row_count], the identity of each row.
    """
    pool_size = min(POOL_PROBES_FOR_EACH * count, live_ordinals.size)
    pool = np.sort(generator.choice(live_ordinals.size, pool_size, replace=False))
    partners = _partners(identity_numbers[live_ordinals])[pool]
    is_lone = partners == pool
    faces = float32_rows(vectors, live_ordinals[pool], 1)
    mates = float32_rows(vectors, live_ordinals[partners], 1)
    if is_lone.any():
        some = generator.choice(live_ordinals, min(COVARIANCE_ROWS_MAX, live_ordinals.size), replace=False)
        model = SecondPhotographs.like(float32_rows(vectors, np.sort(some), 1))
        faces[is_lone] = model.of(faces[is_lone], generator)
    left_out = np.where(is_lone, -1, live_ordinals[pool])
    chosen, weights = _stratified(np.einsum("ij,ij->i", faces, mates), count, generator)
    persons = identity_numbers[live_ordinals[pool[chosen]]]
    return ProbeSet(np.ascontiguousarray(faces[chosen]), left_out[chosen], persons, weights)


def _partners(identity_numbers: npt.NDArray[np.uint32]) -> Int64Array:
    """For each row another row of the same identity, or the row itself where it is the only one."""
    order = np.argsort(identity_numbers, kind="stable")
    is_like_next = identity_numbers[order][:-1] == identity_numbers[order][1:]
    partners = np.arange(order.size)
    # The last of a run keeps the one before it, all others take the one after.
    partners[order[1:][is_like_next]] = order[:-1][is_like_next]
    partners[order[:-1][is_like_next]] = order[1:][is_like_next]
    return partners


def _stratified(
    similarities: Float32Array, count: int, generator: np.random.Generator
) -> tuple[Int64Array, npt.NDArray[np.float64]]:
    """Which of a pool of probes to take, those of least similarity with their mates first, and their weights."""
    pool_size = similarities.size
    if pool_size <= count:
        return np.arange(pool_size), np.full(pool_size, 1 / pool_size)
    order = np.argsort(similarities)
    ends = np.round(np.cumsum([share for share, _ in STRATA]) * pool_size).astype(np.int64)
    parts = np.split(order, ends[:-1])
    taken = [
        generator.choice(part, min(max(1, round(share * count)), part.size), replace=False)
        for part, (_, share) in zip(parts, STRATA, strict=True)
    ]
    weights = [np.full(some.size, part.size / pool_size / some.size) for part, some in zip(parts, taken, strict=True)]
    return np.concatenate(taken), np.concatenate(weights)


def _within_variances(variances: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Variance within persons along each direction: WITHIN_SHARE of the sum, by the power law, as far as there is."""
    shape = variances**WITHIN_EXPONENT
    most = WITHIN_SHARE_OF_DIRECTION_MAX * variances
    low, high = 0.0, float(np.max(variances / shape))
    for _ in range(50):
        middle = (low + high) / 2
        if np.minimum(middle * shape, most).sum() < WITHIN_SHARE * variances.sum():
            low = middle
        else:
            high = middle
    within: npt.NDArray[np.float64] = np.minimum(high * shape, most)
    return within
