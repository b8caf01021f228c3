"""What `--json` prints: results as plain data under the names of their fields."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

import numpy as np

from mien_client import MienClientError

__all__ = ["jsonable", "jsonable_error"]

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None


def jsonable(value: object) -> Json:
    """Dataclasses become objects, arrays lists, bytes hexadecimal, times ISO 8601, lengths of time seconds,
    errors objects.

    Raises:
        TypeError: a type that no result has.
    """
    match value:
        case None | bool() | int() | float():
            return value
        case Enum():
            return str(value.value)
        case str() | Path():
            return str(value)
        case bytes():
            return value.hex()
        case datetime.datetime():
            return value.isoformat()
        case datetime.timedelta():
            return value.total_seconds()
        case MienClientError():
            return jsonable_error(value)
        case np.ndarray():
            return jsonable(value.tolist())
        case np.generic():
            return jsonable(value.item())
        case Mapping():
            return {str(key): jsonable(item) for key, item in value.items()}
        case list() | tuple():
            return [jsonable(item) for item in value]
        case _ if dataclasses.is_dataclass(value):
            return {field.name: jsonable(getattr(value, field.name)) for field in dataclasses.fields(value)}
        case _:
            raise TypeError(f"{type(value).__name__} has no JSON form")


def jsonable_error(error: MienClientError) -> Json:
    """An error as an object."""
    return {
        "code": error.code,
        "reason": error.reason,
        "message": error.message,
        "violations": [{"field": one.field, "description": one.description} for one in error.violations],
        "metadata": dict(error.metadata),
        "retry_after_s": error.retry_after_s,
    }
