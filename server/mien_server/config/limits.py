"""What a request may not exceed, stated by GetServerInfo and enforced before memory is taken."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one server. Counts unless the name ends in a unit."""

    message_bytes_max: int = 64 * 1024 * 1024
    image_bytes_max: int = 32 * 1024 * 1024
    image_pixels_max: int = 50_000_000
    images_per_request_max: int = 256
    faces_per_image_max: int = 256
    embeddings_per_request_max: int = 10_000
    dimension_max: int = 4096
    k_max: int = 1000
    candidate_count_max: int = 200
    page_size_max: int = 1000
    enroll_items_max: int = 10_000
    face_ids_per_request_max: int = 10_000
    identity_id_bytes_max: int = 256
    face_id_bytes_max: int = 64
    labels_max: int = 64
    label_value_bytes_max: int = 256
    filter_ids_max: int = 10_000
    galleries_max: int = 1000
    source_bytes_max: int = 1024
    display_name_bytes_max: int = 256
    neighbors_per_request_max: int = 200_000
    message_elements_max: int = 100_000
    operations_waiting_max: int = 64
