"""What has expired and a command names: it is deleted before the command is planned, which then does not find it.

So a person whose time is over can be enrolled again before the sweep has come, as somebody new, and what is written
never rests on what nobody can see.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from mien_server.records.store_pb2 import GalleryCounts
from mien_server.storage import keys
from mien_server.storage.changes import Changes
from mien_server.storage.commands.base import Planning
from mien_server.storage.commands.identities import GalleryWork
from mien_server.storage.expiry import due_numbers, first_expiry_us, has_expired
from mien_server.storage.reading import RecordReader

__all__ = ["EXPIRED_FACES_MAX", "counts_left", "expired_among"]

EXPIRED_FACES_MAX = 1024
"""Faces of identities that are deleted at a time: a person of many must not hold up who writes meanwhile."""


def expired_among(
    planning: Planning,
    gallery: str,
    identity_ids: Sequence[str] = (),
    face_ids: Sequence[str] = (),
    digests: Iterable[bytes] = (),
    *,
    empties_owners: bool = False,
) -> Changes | None:
    """Deletes those of the identities, with their faces, and of the faces that have expired; None when none has.

    Of the identities' faces no more than EXPIRED_FACES_MAX: the rest when it is asked again.

    Args:
        digests: none, or one for each of `identity_ids`: faces of that identity with that digest are named too, the
            first of several at a time.
        empties_owners: the command takes the faces away and tells whom that leaves without any: of their owners other
            faces that have expired are named too, no more than EXPIRED_FACES_MAX at a time.
    """
    records, now_us = planning.records, planning.now_us
    number = records.gallery_number(gallery)
    if number is None or first_expiry_us(records.reading, number) > now_us:
        return None
    identities = records.whole_identities(number, dict.fromkeys(identity_ids))
    gone = [one for one, record in identities.items() if has_expired(record.expire_time_us, now_us)]
    ordinals = set(records.whole_face_ordinals(number, face_ids).values())
    digest_keys = [
        keys.encode_digest_key(number, identities[identity_id].number, digest)
        for identity_id, digest in zip(identity_ids, digests, strict=False)
        if identity_id in identities
    ]
    ordinals.update(records.digest_ordinals(digest_keys).values())
    work = GalleryWork(planning, gallery)
    if empties_owners and ordinals:
        owners = {face.identity_number for face in work.faces_to_delete(sorted(ordinals))}
        ordinals |= _due_faces_of(records, number, owners, now_us)
    face_count = work.remove_expired_faces(sorted(ordinals), now_us)
    work.remove_with_faces(gone, EXPIRED_FACES_MAX)
    return work.finish() if face_count or gone else None


def _due_faces_of(records: RecordReader, gallery_number: int, owners: Iterable[int], now_us: int) -> set[int]:
    """Faces of these identities that have expired by themselves."""
    due: set[int] = set()
    for ordinals, _ in due_numbers(records.reading, gallery_number, now_us):
        due.update(ordinals.tolist())
    theirs = (ordinal for owner in owners for ordinal in records.faces_of(gallery_number, owner).tolist())
    return set(islice((ordinal for ordinal in theirs if ordinal in due), EXPIRED_FACES_MAX))


def counts_left(records: RecordReader, gallery_number: int, now_us: int) -> GalleryCounts:
    """A gallery's counts without what has expired."""
    counts = records.counts(gallery_number)
    faces: set[int] = set()
    for ordinals, identity_numbers in due_numbers(records.reading, gallery_number, now_us):
        faces.update(ordinals.tolist())
        for number in identity_numbers.tolist():
            faces.update(records.faces_of(gallery_number, number).tolist())
        counts.identity_count -= identity_numbers.size
    counts.face_count -= len(faces)
    return counts
