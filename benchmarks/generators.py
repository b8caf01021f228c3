"""Faces made from a seed, shaped like real embeddings, for recall tests and benchmarks.

Two populations, each a function of its seed alone:

- `face512`: person centres of unit norm with a power-law spectrum (eigenvalue i^-0.9, random rotation); a face adds
  noise of spectrum i^-0.5 in the same basis, whose norm is log-normal (median .60, sd .28). Cosine of two faces of
  one person .72 +- .08, of two persons 0 +- .11: the shape of FaceNet and ArcFace embeddings.
- `face128`, after the covariances of dlib embeddings of LFW: a mean vector of norm .915, persons around it (trace
  .120, eigenvalues falling as i^-1.7, participation ratio 23), faces around them (trace .043, falling as i^-0.97,
  participation ratio 61, 39 % of it in the 20 leading directions between persons), noise scaled log-normally
  (sd .19). Genuine .957 +- .014, impostor .838 +- .039: a narrow cone, strangers close to mates.

A person's centre depends on the seed and the person's number only, so probes of a gallery's persons, and strangers,
can be made at any time without keeping the centres.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["LONG_TAIL", "POPULATIONS", "FacePopulation", "FaceSet", "enrolment_order", "face128", "face512"]

Float32Array = npt.NDArray[np.float32]
UInt32Array = npt.NDArray[np.uint32]

LONG_TAIL: Final = 0
"""As `faces_per_identity`: most persons have one face, a few have hundreds (Zipf, exponent 2, at most 500)."""

LONG_TAIL_EXPONENT: Final = 2.0
LONG_TAIL_FACES_MAX: Final = 500
BLOCK_ROWS: Final = 8192
BISECTIONS: Final = 60
STRANGER_FIRST_NUMBER: Final = 1 << 31
"""Persons from this number on are in no gallery."""

# First part of the key of each stream of random numbers.
CENTRE_STREAM, FACE_STREAM, PROBE_STREAM, COUNT_STREAM = 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class FaceSet:
    """Faces and whose they are.

    Attributes:
        vectors: float32 [n, dimension], unit norm.
        identity_numbers: uint32 [n].
    """

    vectors: Float32Array
    identity_numbers: UInt32Array


@dataclass(frozen=True, slots=True, eq=False)
class FacePopulation:
    """All persons of one seed; make it with `face512` or `face128`.

    Attributes:
        centre_basis: float32 [dimension, dimension]: rows are directions between persons times their deviation.
        noise_basis: likewise within a person.
        mean: float32 [dimension].
        noise_norm_median: length of a face's noise, 0 when `noise_basis` alone gives it.
        noise_log_deviation: standard deviation of the logarithm of the noise's scale.
    """

    name: str
    seed: int
    dimension: int
    centre_basis: Float32Array
    noise_basis: Float32Array
    mean: Float32Array
    noise_norm_median: float
    noise_log_deviation: float

    def gallery(self, identity_count: int, faces_per_identity: int = 1, *, shuffled: bool = True) -> FaceSet:
        """Faces of the persons [0, identity_count).

        Args:
            identity_count: persons.
            faces_per_identity: faces of each, or LONG_TAIL.
            shuffled: in random order, as a gallery grows; otherwise person by person.
        """
        generator = np.random.default_rng([self.seed, COUNT_STREAM])
        counts = _face_counts(generator, identity_count, faces_per_identity)
        numbers = np.repeat(np.arange(identity_count, dtype=np.uint32), counts)
        if shuffled:
            generator.shuffle(numbers)
        return FaceSet(self._faces(numbers, FACE_STREAM), numbers)

    def face_blocks(self, identity_numbers: UInt32Array) -> Iterator[FaceSet]:
        """The faces of a gallery whose rows are these persons', some thousand rows at a time.

        All blocks together are what one array of the whole gallery would be, to the bit, but only one of them is in
        memory. Quick where neighbouring rows are of neighbouring persons, as in `enrolment_order`.
        """
        for _, first, last in _blocks(identity_numbers.size):
            numbers = identity_numbers[first:last]
            yield FaceSet(self._faces(numbers, FACE_STREAM, first // BLOCK_ROWS), numbers)

    def probes(self, identity_numbers: npt.ArrayLike, seed: int = 0) -> FaceSet:
        """One new face of each of these persons; `seed` gives others."""
        numbers = np.asarray(identity_numbers, dtype=np.uint32)
        return FaceSet(self._faces(numbers, PROBE_STREAM + 16 * (seed + 1)), numbers)

    def strangers(self, count: int, seed: int = 0) -> FaceSet:
        """One face of each of `count` persons who are in no gallery."""
        first = STRANGER_FIRST_NUMBER + seed * count
        return self.probes(np.arange(first, first + count, dtype=np.uint32), seed)

    def _centres(self, numbers: UInt32Array) -> Float32Array:
        """Centres of these persons, float32 [n, dimension]; each block of persons has its own random stream."""
        centres = np.empty((numbers.size, self.dimension), np.float32)
        blocks = numbers // BLOCK_ROWS
        order = np.argsort(blocks, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(blocks[order]) != 0])
        for start, end in zip(starts, [*starts[1:], numbers.size], strict=True):
            rows = order[start:end]
            block = self._centre_block(int(blocks[rows[0]]))
            centres[rows] = block[numbers[rows] % BLOCK_ROWS]
        return centres

    def _centre_block(self, block: int) -> Float32Array:
        generator = np.random.default_rng([self.seed, CENTRE_STREAM, block])
        centres = generator.standard_normal((BLOCK_ROWS, self.dimension), dtype=np.float32) @ self.centre_basis
        if self.noise_norm_median:
            centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        centres += self.mean
        return centres

    def _faces(self, numbers: UInt32Array, stream: int, first_block: int = 0) -> Float32Array:
        """One face for each entry: centre plus noise, normalised. The entries start at that block of the stream."""
        vectors = self._centres(numbers)
        for block, first, last in _blocks(numbers.size):
            generator = np.random.default_rng([self.seed, stream, first_block + block])
            noise = generator.standard_normal((last - first, self.dimension), dtype=np.float32) @ self.noise_basis
            scale = np.exp(self.noise_log_deviation * generator.standard_normal((last - first, 1), dtype=np.float32))
            if self.noise_norm_median:
                scale *= self.noise_norm_median / np.linalg.norm(noise, axis=1, keepdims=True)
            faces = vectors[first:last]
            faces += noise * scale
            faces /= np.linalg.norm(faces, axis=1, keepdims=True)
        return vectors


def enrolment_order(row_count: int, faces_per_identity: int, seed: int = 0) -> UInt32Array:
    """Whose face each row of a large gallery is, uint32 [row_count]: everybody's first face, then the second, ...

    Args:
        row_count: faces of the gallery; of the last person or round there may be fewer than of the others.
        faces_per_identity: faces of each, or LONG_TAIL.
        seed: of the long tail's counts.
    """
    counts = _face_counts(np.random.default_rng([seed, COUNT_STREAM]), row_count, faces_per_identity)
    identity_count = int(np.searchsorted(np.cumsum(counts), row_count)) + 1
    counts = counts[:identity_count]
    rounds = [np.flatnonzero(counts > number).astype(np.uint32) for number in range(int(counts.max()))]
    return np.concatenate(rounds)[:row_count]


def face512(seed: int = 0, dimension: int = 512) -> FacePopulation:
    """The population shaped like FaceNet and ArcFace embeddings; another dimension keeps the spectra's shape."""
    # Persons and noise share their leading directions, as they do in real embeddings.
    rotation = _rotation(np.random.default_rng([seed, 512]), dimension)
    return FacePopulation(
        name="face512",
        seed=seed,
        dimension=dimension,
        centre_basis=_basis(_power_law(dimension, 0.9), rotation),
        noise_basis=_basis(_power_law(dimension, 0.5), rotation),
        mean=np.zeros(dimension, np.float32),
        noise_norm_median=0.60,
        noise_log_deviation=0.28,
    )


def face128(seed: int = 0) -> FacePopulation:
    """The population shaped like dlib embeddings of LFW."""
    dimension, leading = 128, 20
    generator = np.random.default_rng([seed, 128])
    rotation = _rotation(generator, dimension)
    between = _power_law(dimension, 1.7, participation_ratio=23) * 0.120
    within = _power_law(dimension, 0.97, participation_ratio=61)
    within[:leading] *= 0.39 / within[:leading].sum()
    within[leading:] *= 0.61 / within[leading:].sum()
    mean = generator.standard_normal(dimension).astype(np.float32)
    return FacePopulation(
        name="face128",
        seed=seed,
        dimension=dimension,
        centre_basis=_basis(between, rotation),
        noise_basis=_basis(within * 0.043, rotation),
        mean=mean * np.float32(0.915 / np.linalg.norm(mean)),
        noise_norm_median=0.0,
        noise_log_deviation=0.19,
    )


class MakesPopulation(Protocol):
    """A population of a seed."""

    def __call__(self, seed: int = 0) -> FacePopulation: ...


POPULATIONS: Final[dict[str, MakesPopulation]] = {"face512": face512, "face128": face128}
"""By the name that a command line gives them."""


def _face_counts(generator: np.random.Generator, identity_count: int, faces_per_identity: int) -> npt.NDArray[np.int64]:
    """How many faces each of that many persons has."""
    if faces_per_identity == LONG_TAIL:
        return np.minimum(generator.zipf(LONG_TAIL_EXPONENT, identity_count), LONG_TAIL_FACES_MAX)
    return np.full(identity_count, faces_per_identity)


def _power_law(dimension: int, exponent: float, participation_ratio: float | None = None) -> npt.NDArray[np.float64]:
    """Eigenvalues (i + offset)^-exponent of trace 1; the offset gives (sum)^2 / sum of squares the wanted value."""
    index = np.arange(1, dimension + 1, dtype=np.float64)
    low, high = 0.0, 4.0 * dimension if participation_ratio is not None else 0.0
    for _ in range(BISECTIONS if participation_ratio is not None else 0):
        eigenvalues = (index + (low + high) / 2) ** -exponent
        if eigenvalues.sum() ** 2 / (eigenvalues**2).sum() < (participation_ratio or 0):
            low = (low + high) / 2
        else:
            high = (low + high) / 2
    eigenvalues = (index + high) ** -exponent
    normalised: npt.NDArray[np.float64] = eigenvalues / eigenvalues.sum()
    return normalised


def _rotation(generator: np.random.Generator, dimension: int) -> npt.NDArray[np.float64]:
    """A random orthonormal basis, rows."""
    orthonormal: npt.NDArray[np.float64] = np.linalg.qr(generator.standard_normal((dimension, dimension)))[0]
    return orthonormal


def _basis(eigenvalues: npt.NDArray[np.float64], rotation: npt.NDArray[np.float64]) -> Float32Array:
    return (np.sqrt(eigenvalues)[:, None] * rotation).astype(np.float32)


def _blocks(row_count: int) -> Iterator[tuple[int, int, int]]:
    """Number, first and last row of each block."""
    for block, first in enumerate(range(0, row_count, BLOCK_ROWS)):
        yield block, first, min(first + BLOCK_ROWS, row_count)
