"""Templates: one vector for an identity, the normalised mean of all its faces."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mien_server.records.faces import Float32Array
from mien_server.storage import GalleryView

__all__ = ["template_of", "templates_of"]

FACES_PER_READ = 4096
"""Faces of one identity read at a time, so that memory stays bounded whatever an identity holds."""
NORM_MIN = 1e-12


def template_of(gallery: GalleryView, identity_number: int) -> Float32Array:
    """The normalised mean of an identity's faces, float32 [d]; zero for an identity without faces."""
    total = np.zeros(gallery.record.dimension, dtype=np.float64)
    after = -1
    while (ordinals := gallery.faces_of(identity_number, after, FACES_PER_READ)).size:
        total += gallery.vectors(ordinals).sum(axis=0, dtype=np.float64)
        after = int(ordinals[-1])
    norm = float(np.linalg.norm(total))
    return (total / norm if norm > NORM_MIN else total).astype(np.float32)


def templates_of(gallery: GalleryView, identity_numbers: npt.NDArray[np.uint32]) -> Float32Array:
    """Templates of identities, float32 [n, d]."""
    return np.stack([template_of(gallery, int(number)) for number in identity_numbers])
