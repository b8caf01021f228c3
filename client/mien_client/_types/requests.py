"""What callers give: pictures, embeddings, policies, filters, efforts."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from mien_client._types import enums

__all__ = [
    "Condition",
    "DecisionPolicy",
    "Effort",
    "EmbeddingBlock",
    "EnrollItem",
    "EnrollRows",
    "EnrolledFace",
    "EnrolledIdentity",
    "EnrollmentPolicy",
    "Filter",
    "Image",
    "ImageLike",
    "IndexPolicy",
    "Probes",
    "Vectors",
]

# One embedding [d] or n of them [n, d]; anything numpy turns into float32 without loss of meaning.
Vectors = npt.NDArray[np.floating] | Sequence[float] | Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Image:
    """A photograph as the bytes of its file: JPEG, PNG, WebP, GIF, BMP or TIFF.

    Attributes:
        content: the file's bytes, undecoded.
        source: the caller's name for it, repeated in errors and kept with the faces found in it.
    """

    content: bytes = field(repr=False)
    source: str = ""

    @classmethod
    def from_file(cls, path: str | Path, *, source: str | None = None) -> Self:
        """Reads a file; `source` is its name unless given.

        Raises:
            OSError: the file cannot be read.
        """
        file = Path(path)
        return cls(file.read_bytes(), file.name if source is None else source)


# A photograph, a file to read, or a file's bytes.
ImageLike = Image | Path | bytes


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingBlock:
    """Embeddings with the facts that travel with them.

    Attributes:
        vectors: [d] or [n, d]; converted to float32.
        model: fingerprint of the model that made them, or the model name of a precomputed gallery. Empty: the
            gallery's own, which the caller vouches for.
        normalize: let the server divide each vector by its norm; without it a norm further than 1e-3 from one is
            refused.
    """

    vectors: Vectors
    model: str = ""
    normalize: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Probes:
    """What one request of a stream looks up: embeddings [d] or [n, d], photographs, or both."""

    embeddings: Vectors | EmbeddingBlock | None = None
    images: Sequence[ImageLike] = ()


@dataclass(frozen=True, slots=True)
class EnrolledFace:
    """A side of a verification: a face of the gallery."""

    face_id: str


@dataclass(frozen=True, slots=True)
class EnrolledIdentity:
    """A side of a verification: an identity of the gallery, scored as its policy says."""

    identity_id: str


@dataclass(frozen=True, slots=True)
class DecisionPolicy:
    """How a decision is taken; at most one of the three thresholds.

    Attributes:
        similarity: cosine similarity at or above which a candidate is a match, [-1, 1].
        target_fpir: false positive identification rate wanted, (0, 1); the server turns it into a similarity from
            the gallery's calibration and size.
        target_fmr: false match rate wanted of one comparison, (0, 1).
        scoring: how an identity with several faces is scored.
        metric: answers carry this distance too, when set.
    """

    similarity: float | None = None
    target_fpir: float | None = None
    target_fmr: float | None = None
    scoring: enums.IdentityScoring = enums.IdentityScoring.UNSPECIFIED
    metric: enums.DistanceMetric = enums.DistanceMetric.UNSPECIFIED

    def __post_init__(self) -> None:
        _at_most_one(
            "a decision policy",
            similarity=self.similarity,
            target_fpir=self.target_fpir,
            target_fmr=self.target_fmr,
        )


@dataclass(frozen=True, slots=True)
class EnrollmentPolicy:
    """What happens to a photograph that is not simply one good face. `minimum_quality` 0: the recipe's default."""

    multiple_faces: enums.MultipleFaces = enums.MultipleFaces.UNSPECIFIED
    duplicates: enums.Duplicates = enums.Duplicates.UNSPECIFIED
    quality_gate: enums.QualityGate = enums.QualityGate.UNSPECIFIED
    minimum_quality: float = 0.0


@dataclass(frozen=True, slots=True)
class IndexPolicy:
    """How a gallery is indexed. `default_recall_target` 0 means 0.999."""

    default_recall_target: float = 0.0
    code: enums.IndexCode = enums.IndexCode.UNSPECIFIED
    manual_rebuild: bool = False


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard a search looks; exactly one of the three.

    Attributes:
        recall_target: the cheapest effort that met this rank-1 agreement with exact search, (0, 1].
        step: a step of the generation's ladder, 1 is the cheapest.
        exact: compare with every row.
    """

    recall_target: float | None = None
    step: int | None = None
    exact: bool = False

    def __post_init__(self) -> None:
        _at_most_one("an effort", recall_target=self.recall_target, step=self.step, exact=self.exact or None)


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a filter; exactly one test.

    Attributes:
        subject: a label or a time, of the identity or of the face.
        key: the label's key, for labels.
        one_of: the label's value is one of these.
        minimum: with `maximum`, the label read as a number lies in the closed range; None is open.
        maximum: see `minimum`.
        start: with `end`, the time lies in [start, end); None is open.
        end: see `start`.
        exists: the label exists, or does not.
    """

    subject: enums.ConditionSubject
    key: str = ""
    one_of: tuple[str, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    start: datetime.datetime | None = None
    end: datetime.datetime | None = None
    exists: bool | None = None

    def __post_init__(self) -> None:
        number_range = None if self.minimum is None and self.maximum is None else True
        time_range = None if self.start is None and self.end is None else True
        _at_most_one(
            "a condition", one_of=self.one_of, number_range=number_range, time_range=time_range, exists=self.exists
        )


@dataclass(frozen=True, slots=True)
class Filter:
    """Which identities a search may answer; all parts must hold, an empty filter holds for everyone."""

    identity_labels: Mapping[str, str] = field(default_factory=dict)
    identity_ids: Sequence[str] = ()
    excluded_identity_ids: Sequence[str] = ()
    conditions: Sequence[Condition] = ()


@dataclass(frozen=True, slots=True, eq=False)
class EnrollItem:
    """One photograph or one embedding of one person.

    Attributes:
        identity_id: made when it does not exist.
        image: the photograph; or
        embedding: one vector [d].
        identity_display_name: set on the identity when it is made here.
        identity_labels: likewise.
        face_id: the caller's id for the face; one that exists is a duplicate. The server makes one when empty.
        face_labels: kept with the face.
        source: for embeddings, kept with the face.
        expire_time: when the face is found no more, with a time zone; None: as the gallery's default says.
    """

    identity_id: str
    image: ImageLike | None = None
    embedding: Vectors | EmbeddingBlock | None = None
    identity_display_name: str = ""
    identity_labels: Mapping[str, str] = field(default_factory=dict)
    face_id: str = ""
    face_labels: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    expire_time: datetime.datetime | None = None

    def __post_init__(self) -> None:
        if (self.image is None) == (self.embedding is None):
            raise ValueError(f"item of {self.identity_id!r}: give either an image or an embedding")


@dataclass(frozen=True, slots=True, eq=False)
class EnrollRows:
    """A batch of faces in columns: row i is vector i of identity i.

    Attributes:
        vectors: [n, d].
        identity_ids: n ids.
        face_ids: none, or n ids.
        sources: none, or n names.
        model: as in EmbeddingBlock.
        normalize: as in EmbeddingBlock.
        request_id: makes the batch idempotent; one is made when empty.
        expire_times: none, or n: when each face is found no more, with a time zone; None: as the gallery's default
            says.
    """

    vectors: Vectors
    identity_ids: Sequence[str]
    face_ids: Sequence[str] = ()
    sources: Sequence[str] = ()
    model: str = ""
    normalize: bool = False
    request_id: str = ""
    expire_times: Sequence[datetime.datetime | None] = ()


def _at_most_one(owner: str, **choices: object) -> None:
    given = [name for name, value in choices.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"{owner} takes one of {', '.join(choices)}; {' and '.join(given)} were given")
