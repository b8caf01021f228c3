"""Types -> messages."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from google.protobuf import duration_pb2, timestamp_pb2

from mien.v1 import gallery_service_pb2 as galleries_v1
from mien.v1 import recognition_service_pb2 as recognition_v1
from mien.v1 import types_pb2 as types_v1
from mien_client._types import requests
from mien_client._wire.enums import enum_name

__all__ = [
    "decision_policy",
    "duration",
    "effort",
    "embeddings",
    "enroll_item",
    "enroll_rows",
    "enrollment_policy",
    "image",
    "index_policy",
    "probes",
    "search_filter",
    "search_options",
    "timestamp",
    "verify_side",
    "whole",
]

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)


def image(picture: requests.ImageLike) -> types_v1.Image:
    """A photograph; a path is read, and its file's name is the source.

    Raises:
        OSError: the file cannot be read.
        TypeError: neither an Image, nor a Path, nor bytes.
    """
    match picture:
        case requests.Image():
            return types_v1.Image(content=picture.content, source=picture.source)
        case Path():
            return image(requests.Image.from_file(picture))
        case bytes():
            return types_v1.Image(content=picture)
        case _:
            raise TypeError(f"a photograph is an Image, a pathlib.Path or bytes, not {type(picture).__name__}")


def embeddings(block: requests.Vectors | requests.EmbeddingBlock) -> types_v1.Embeddings:
    """Vectors [d] or [n, d], packed as little-endian float32.

    Raises:
        ValueError: another number of dimensions, or no components.
        TypeError: not numbers.
    """
    if not isinstance(block, requests.EmbeddingBlock):
        block = requests.EmbeddingBlock(block)
    given = np.asarray(block.vectors)
    if given.dtype.kind not in "fiu":
        raise TypeError(f"embeddings are arrays of numbers, not of {given.dtype}")
    rows = np.atleast_2d(given)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise ValueError(f"embeddings have the shape [d] or [n, d], not {list(given.shape)}")
    return types_v1.Embeddings(
        data=np.ascontiguousarray(rows, dtype="<f4").tobytes(),
        dimension=rows.shape[1],
        count=rows.shape[0],
        model=block.model,
        normalize=block.normalize,
    )


def _one_embedding(block: requests.Vectors | requests.EmbeddingBlock) -> types_v1.Embeddings:
    packed = embeddings(block)
    if packed.count != 1:
        raise ValueError(f"exactly one embedding belongs here, not {packed.count}")
    return packed


def probes(found: requests.Probes) -> recognition_v1.Probes:
    """Embeddings and photographs to look up.

    Raises:
        ValueError: there is neither.
    """
    if found.embeddings is None and not found.images:
        raise ValueError("nothing to look up: give embeddings, images, or both")
    return recognition_v1.Probes(
        embeddings=None if found.embeddings is None else embeddings(found.embeddings),
        images=[image(picture) for picture in found.images],
    )


def verify_side(
    side: requests.ImageLike
    | requests.Vectors
    | requests.EmbeddingBlock
    | requests.EnrolledFace
    | requests.EnrolledIdentity,
) -> recognition_v1.VerifySide:
    """One side of a verification."""
    match side:
        case requests.EnrolledFace():
            return recognition_v1.VerifySide(face_id=side.face_id)
        case requests.EnrolledIdentity():
            return recognition_v1.VerifySide(identity_id=side.identity_id)
        case requests.Image() | Path() | bytes():
            return recognition_v1.VerifySide(image=image(side))
        case str():
            raise TypeError(
                f"{side!r} could be a file, a face or an identity; give pathlib.Path, EnrolledFace or EnrolledIdentity"
            )
        case _:
            return recognition_v1.VerifySide(embedding=_one_embedding(side))


def enroll_item(item: requests.EnrollItem) -> galleries_v1.EnrollItem:
    """One photograph or embedding of one person."""
    return galleries_v1.EnrollItem(
        identity_id=item.identity_id,
        identity_display_name=item.identity_display_name,
        identity_labels=dict(item.identity_labels),
        image=None if item.image is None else image(item.image),
        embedding=None if item.embedding is None else _one_embedding(item.embedding),
        face_id=item.face_id,
        face_labels=dict(item.face_labels),
        source=item.source,
        expire_time=timestamp(item.expire_time),
    )


def enroll_rows(rows: requests.EnrollRows) -> galleries_v1.EnrollRows:
    """Faces in columns.

    Raises:
        ValueError: the columns differ in length.
    """
    packed = embeddings(requests.EmbeddingBlock(rows.vectors, rows.model, rows.normalize))
    columns: dict[str, Sequence[object]] = {
        "identity_ids": rows.identity_ids,
        "face_ids": rows.face_ids,
        "sources": rows.sources,
        "expire_times": rows.expire_times,
    }
    for name, column in columns.items():
        if len(column) != packed.count and (column or name == "identity_ids"):
            raise ValueError(f"{packed.count} vectors came with {len(column)} {name}; there must be one for each row")
    return galleries_v1.EnrollRows(
        embeddings=packed,
        identity_ids=rows.identity_ids,
        face_ids=rows.face_ids,
        sources=rows.sources,
        # The epoch itself is long past, and must not be taken for none.
        expire_times_us=[0 if moment is None else _aware(moment) // _MICROSECOND or -1 for moment in rows.expire_times],
    )


def decision_policy(policy: requests.DecisionPolicy | None) -> types_v1.DecisionPolicy | None:
    """A decision policy; None stays None."""
    if policy is None:
        return None
    return types_v1.DecisionPolicy(
        similarity=policy.similarity,
        target_fpir=policy.target_fpir,
        target_fmr=policy.target_fmr,
        scoring=enum_name(policy.scoring),
        metric=enum_name(policy.metric),
    )


def enrollment_policy(policy: requests.EnrollmentPolicy | None) -> galleries_v1.EnrollmentPolicy | None:
    """An enrolment policy; None stays None."""
    if policy is None:
        return None
    return galleries_v1.EnrollmentPolicy(
        multiple_faces=enum_name(policy.multiple_faces),
        duplicates=enum_name(policy.duplicates),
        quality_gate=enum_name(policy.quality_gate),
        minimum_quality=policy.minimum_quality,
    )


def index_policy(policy: requests.IndexPolicy | None) -> galleries_v1.IndexPolicy | None:
    """An index policy; None stays None."""
    if policy is None:
        return None
    return galleries_v1.IndexPolicy(
        default_recall_target=policy.default_recall_target,
        code=enum_name(policy.code),
        manual_rebuild=policy.manual_rebuild,
    )


def effort(wanted: requests.Effort | None) -> types_v1.Effort | None:
    """An effort; None stays None."""
    if wanted is None:
        return None
    if wanted.exact:
        return types_v1.Effort(exact=True)
    step = None if wanted.step is None else whole("step", wanted.step)
    return types_v1.Effort(recall_target=wanted.recall_target, step=step)


def search_filter(wanted: requests.Filter | None) -> types_v1.Filter | None:
    """A filter; None stays None."""
    if wanted is None:
        return None
    return types_v1.Filter(
        identity_labels=dict(wanted.identity_labels),
        identity_ids=wanted.identity_ids,
        excluded_identity_ids=wanted.excluded_identity_ids,
        conditions=[_condition(condition) for condition in wanted.conditions],
    )


def _condition(condition: requests.Condition) -> types_v1.Condition:
    message = types_v1.Condition(
        subject=enum_name(condition.subject),
        key=condition.key,
        exists=condition.exists,
    )
    if condition.one_of is not None:
        message.one_of.values.extend(condition.one_of)
        message.one_of.SetInParent()
    if condition.minimum is not None or condition.maximum is not None:
        message.number_range.CopyFrom(types_v1.NumberRange(minimum=condition.minimum, maximum=condition.maximum))
    if condition.start is not None or condition.end is not None:
        message.time_range.SetInParent()
        for bound, moment in (("from", condition.start), ("to", condition.end)):
            if moment is not None:
                # `from` is a word of Python, so the field has no attribute.
                getattr(message.time_range, bound).CopyFrom(timestamp(moment))
    return message


def whole(name: str, number: int, bits: int = 32) -> int:
    """A number as an unsigned field of the contract takes it.

    Args:
        name: the argument's, for the message.
        number: what the caller gave.
        bits: of the field, 32 or 64.

    Raises:
        ValueError: below zero, or more than the field holds.
    """
    if not 0 <= number < 1 << bits:
        raise ValueError(f"{name} is {number}; give a whole number from 0 to {(1 << bits) - 1}")
    return number


def search_options(
    wanted: requests.Filter | None,
    wanted_effort: requests.Effort | None,
    min_similarity: float | None,
    min_revision: int,
    explain: bool,
) -> recognition_v1.SearchOptions:
    """The options that every search shares."""
    return recognition_v1.SearchOptions(
        filter=search_filter(wanted),
        effort=effort(wanted_effort),
        min_similarity=min_similarity,
        min_revision=whole("min_revision", min_revision, 64),
        explain=explain,
    )


def timestamp(moment: datetime.datetime | None) -> timestamp_pb2.Timestamp | None:
    """A time with a time zone; None stays None.

    Raises:
        ValueError: it has none.
    """
    if moment is None:
        return None
    _aware(moment)
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(moment)
    return message


def duration(wanted: datetime.timedelta | None) -> duration_pb2.Duration | None:
    """A length of time; None stays None."""
    if wanted is None:
        return None
    message = duration_pb2.Duration()
    message.FromTimedelta(wanted)
    return message


def _aware(moment: datetime.datetime) -> datetime.timedelta:
    """What passed since 1970 UTC until then."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone; use datetime.datetime(..., tzinfo=datetime.UTC)")
    return moment - _EPOCH
