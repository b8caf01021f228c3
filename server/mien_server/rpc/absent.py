"""What the contract names and this server does not do yet: one table, for refusals and for GetServerInfo."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import Message

from mien_server.engine.types import AbsentFeature
from mien_server.errors import Unimplemented

__all__ = ["ABSENT_FIELDS", "ABSENT_METHODS", "absent_features", "refuse_absent_field", "unimplemented"]

_EXPIRY = "faces and identities do not expire yet; delete them when their time is over"

ABSENT_METHODS: Mapping[str, str] = {
    "mien.v1.OperationsService.ImportFaces": "not built yet; use GalleryService.StreamEnroll",
    "mien.v1.OperationsService.ExportFaces": "not built yet; use GalleryService.ListFaces with include_embedding",
    "mien.v1.OperationsService.CalibrateGallery": "not built yet; set the gallery's decision policy to a similarity",
    "mien.v1.OperationsService.EvaluateGallery": "not built yet; identify labelled probes and count",
}
"""Method by full name: why, and what to do instead."""

ABSENT_FIELDS: Mapping[str, str] = {
    "mien.v1.Gallery.default_time_to_live": _EXPIRY,
    "mien.v1.Identity.expire_time": _EXPIRY,
    "mien.v1.Face.expire_time": _EXPIRY,
}
"""Field by full name: why, and what to do instead. Refused when set in a request."""


def absent_features() -> list[AbsentFeature]:
    """Everything absent, methods first."""
    return [AbsentFeature(name, reason) for name, reason in {**ABSENT_METHODS, **ABSENT_FIELDS}.items()]


def unimplemented(full_name: str) -> Unimplemented:
    """The refusal of an absent method or field."""
    why = {**ABSENT_METHODS, **ABSENT_FIELDS}[full_name]
    return Unimplemented(f"{full_name}: {why}", reason="NOT_IMPLEMENTED", metadata={"feature": full_name})


def refuse_absent_field(message: Message, field: str) -> None:
    """Refuse a message whose absent field is set.

    Raises:
        Unimplemented: NOT_IMPLEMENTED.
    """
    if message.HasField(field):
        raise unimplemented(f"{message.DESCRIPTOR.full_name}.{field}")
