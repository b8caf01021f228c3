"""What every request can carry: its id, packed embeddings, photographs."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "ImageInput",
    "PackedEmbeddings",
    "RequestToken",
]


@dataclass(frozen=True, slots=True)
class RequestToken:
    """The caller's request id and the SHA-256 of method and body, for idempotent writes."""

    request_id: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class PackedEmbeddings:
    """Embeddings as they arrived, not yet checked: see mien.v1.Embeddings."""

    data: bytes
    dimension: int
    count: int = 0
    model: str = ""
    normalize: bool = False


@dataclass(frozen=True, slots=True)
class ImageInput:
    """A photograph's bytes and the caller's name for it."""

    content: bytes
    source: str = ""
