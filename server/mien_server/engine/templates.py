"""Templates: one vector for an identity, the normalised mean of all its faces."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mien_server.records.deadline import Deadline
from mien_server.records.faces import Float32Array
from mien_server.storage import GalleryView

__all__ = ["template_of", "templates_of"]

FACES_PER_READ = 4096
"""Faces of one identity read at a time, so that memory stays bounded whatever an identity holds."""
NORM_MIN = 1e-12
NO_DEADLINE = Deadline()


def template_of(gallery: GalleryView, identity_number: int, deadline: Deadline = NO_DEADLINE) -> Float32Array:
    """The normalised mean of an identity's faces, float32 [d]; zero for an identity without faces.

    Raises:
        Cancelled, DeadlineExceeded: between reads of FACES_PER_READ faces.
    """
    total = np.zeros(gallery.record.dimension, dtype=np.float64)
    after = -1
    deadline.check()
    while (ordinals := gallery.faces_of(identity_number, after, FACES_PER_READ)).size:
        total += gallery.vectors(ordinals).sum(axis=0, dtype=np.float64)
        after = int(ordinals[-1])
        deadline.check()
    norm = float(np.linalg.norm(total))
    return (total / norm if norm > NORM_MIN else total).astype(np.float32)


def templates_of(
    gallery: GalleryView, identity_numbers: npt.NDArray[np.uint32], deadline: Deadline = NO_DEADLINE
) -> Float32Array:
    """Templates of identities, float32 [n, d].

    Raises:
        Cancelled, DeadlineExceeded: between identities, and within one of many faces.
    """
    return np.stack([template_of(gallery, int(number), deadline) for number in identity_numbers])
