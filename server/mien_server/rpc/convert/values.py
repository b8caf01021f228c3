"""Times, numbers of enums, and embeddings: the values that messages of every kind hold."""

from __future__ import annotations

import enum
from typing import Any, TypeVar

import numpy as np
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from mien.v1 import gallery_service_pb2, types_pb2
from mien_server.engine.types import ImageInput, PackedEmbeddings
from mien_server.errors import InvalidArgument
from mien_server.records.faces import Float32Array

__all__ = [
    "duration_message",
    "duration_microseconds",
    "duration_seconds",
    "embedding_message",
    "enum_number",
    "enum_value",
    "expiry_microseconds",
    "image_input",
    "microseconds",
    "missing",
    "packed_embeddings",
    "timestamp",
]

Enum = TypeVar("Enum", bound=enum.IntEnum)

_MICROSECONDS = 1_000_000
_TIMESTAMP_SECONDS_MIN = -62_135_596_800
_TIMESTAMP_SECONDS_MAX = 253_402_300_799
_DURATION_SECONDS_MAX = 315_576_000_000


def missing(field: str, what: str) -> InvalidArgument:
    """The refusal of a request that leaves out what it cannot do without."""
    return InvalidArgument(f"{field} is not set; {what}", field=field, reason="FIELD_REQUIRED")


def enum_value(number: int, kind: type[Enum], default: Enum | None, field: str) -> Enum:
    """An enum's number as the engine's enum; zero is the default where there is one.

    Raises:
        InvalidArgument: ENUM_UNKNOWN for a number this server does not know, FIELD_REQUIRED for zero without default.
    """
    if number == 0 and default is not None:
        return default
    try:
        return kind(number)
    except ValueError as error:
        if number == 0:
            raise missing(field, f"give one of {_choices(kind)}") from error
        raise InvalidArgument(
            f"{field}: {number} is no {kind.__name__} that this server knows; it knows {_choices(kind)}",
            field=field,
            reason="ENUM_UNKNOWN",
            metadata={"given": str(number)},
        ) from error


def enum_number(member: enum.IntEnum) -> Any:
    """An engine's enum as the number of the contract's enum, which the types of generated code call another type."""
    return member.value


def _choices(kind: type[enum.IntEnum]) -> str:
    return ", ".join(f"{member.name} = {member.value}" for member in kind)


def timestamp(time_us: int) -> Timestamp | None:
    """Microseconds since the epoch as a Timestamp; None for 0, which is no time."""
    if time_us == 0:
        return None
    seconds, rest = divmod(time_us, _MICROSECONDS)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def microseconds(time: Timestamp, field: str) -> int:
    """A Timestamp as microseconds since the epoch, nanoseconds cut off.

    Raises:
        InvalidArgument: TIME_INVALID, outside the years 1 to 9999.
    """
    in_range = _TIMESTAMP_SECONDS_MIN <= time.seconds <= _TIMESTAMP_SECONDS_MAX
    if not in_range or not 0 <= time.nanos < 1_000_000_000:
        raise InvalidArgument(
            f"{field}: {time.seconds} s and {time.nanos} ns are no time of the years 1 to 9999",
            field=field,
            reason="TIME_INVALID",
        )
    return time.seconds * _MICROSECONDS + time.nanos // 1000


def expiry_microseconds(message: gallery_service_pb2.Identity | gallery_service_pb2.EnrollItem) -> int:
    """A message's `expire_time` as microseconds since the epoch, nanoseconds cut off; 0 where it is not set.

    Negative for what is no time after the epoch: the engine refuses it, for one item alone where there are several.
    """
    if not message.HasField("expire_time"):
        return 0
    time = message.expire_time
    if not 0 <= time.nanos < 1_000_000_000:
        return -1
    return time.seconds * _MICROSECONDS + time.nanos // 1000 or -1


def duration_seconds(duration: Duration, field: str) -> float:
    """A Duration in seconds.

    Raises:
        InvalidArgument: TIME_INVALID, when it is negative or not a duration.
    """
    if not (0 <= duration.seconds <= _DURATION_SECONDS_MAX and 0 <= duration.nanos < 1_000_000_000):
        raise InvalidArgument(
            f"{field}: {duration.seconds} s and {duration.nanos} ns are no time to wait",
            field=field,
            reason="TIME_INVALID",
        )
    return duration.seconds + duration.nanos * 1e-9


def duration_microseconds(duration: Duration, field: str) -> int:
    """A Duration in microseconds, nanoseconds cut off, but that only none at all is 0.

    Raises:
        InvalidArgument: TIME_INVALID, when it is negative or not a duration.
    """
    duration_seconds(duration, field)
    return duration.seconds * _MICROSECONDS + duration.nanos // 1000 or int(duration.nanos > 0)


def duration_message(duration_us: int) -> Duration | None:
    """Microseconds as a Duration; None for 0, which is none."""
    if duration_us == 0:
        return None
    seconds, rest = divmod(duration_us, _MICROSECONDS)
    return Duration(seconds=seconds, nanos=rest * 1000)


def packed_embeddings(message: types_pb2.Embeddings) -> PackedEmbeddings:
    """Embeddings as they arrived; nothing is checked and no memory is taken but that of the bytes themselves."""
    return PackedEmbeddings(message.data, message.dimension, message.count, message.model, message.normalize)


def embedding_message(vector: Float32Array, model: str) -> types_pb2.Embeddings:
    """One vector, float32 [dimension], as a message."""
    return types_pb2.Embeddings(
        data=vector.astype(np.dtype("<f4"), copy=False).tobytes(), dimension=vector.shape[0], count=1, model=model
    )


def image_input(message: types_pb2.Image) -> ImageInput:
    """A photograph as the engine takes it."""
    return ImageInput(message.content, message.source)
