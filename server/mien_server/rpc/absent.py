"""What the contract names and this server does not do yet: one table, for refusals and for GetServerInfo."""

from __future__ import annotations

from collections.abc import Mapping

from mien_server.engine.types import AbsentFeature
from mien_server.errors import Unimplemented

__all__ = ["ABSENT_METHODS", "absent_features", "unimplemented"]

ABSENT_METHODS: Mapping[str, str] = {
    "mien.v1.OperationsService.ImportFaces": "not built yet; use GalleryService.StreamEnroll",
    "mien.v1.OperationsService.ExportFaces": "not built yet; use GalleryService.ListFaces with include_embedding",
    "mien.v1.OperationsService.CalibrateGallery": "not built yet; set the gallery's decision policy to a similarity",
    "mien.v1.OperationsService.EvaluateGallery": "not built yet; identify labelled probes and count",
}
"""Method by full name: why, and what to do instead."""


def absent_features() -> list[AbsentFeature]:
    """Everything absent."""
    return [AbsentFeature(name, reason) for name, reason in ABSENT_METHODS.items()]


def unimplemented(full_name: str) -> Unimplemented:
    """The refusal of an absent method."""
    return Unimplemented(
        f"{full_name}: {ABSENT_METHODS[full_name]}", reason="NOT_IMPLEMENTED", metadata={"feature": full_name}
    )
