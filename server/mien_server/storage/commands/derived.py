"""What follows from a face, from an identity and from a gallery: the records beside theirs, for commands and replay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat

from mien_server.records.store_pb2 import GalleryCounts, GalleryRecord, JournalOperation
from mien_server.storage import keys
from mien_server.storage.changes import Changes
from mien_server.storage.databases import Database

__all__ = [
    "gallery_created",
    "gallery_deleted",
    "put_face_expiries",
    "put_face_labels",
    "put_faces",
    "put_identity_ids",
    "put_identity_labels",
]


def put_faces(
    changes: Changes,
    gallery_number: int,
    first_ordinal: int,
    identity_numbers: Sequence[int],
    face_ids: Sequence[bytes],
    digests: Sequence[bytes],
    values: Sequence[bytes],
) -> None:
    """Put faces at the ordinals from the first on, given in columns. Runs once a row: keep it in C."""
    count = len(values)
    ordinals = range(first_ordinal, first_ordinal + count)
    raw_ordinals = list(map(keys.encode_number, ordinals))
    prefix = keys.encode_gallery(gallery_number)
    put_many = changes.put_many
    put_many(Database.FACES, [prefix + raw for raw in raw_ordinals], values)
    put_many(Database.FACE_IDS, [prefix + raw for raw in face_ids], raw_ordinals)
    pairs = keys.encode_pair_many(gallery_number, identity_numbers, ordinals)
    put_many(Database.IDENTITY_FACES, pairs, [b""] * count)
    digest_keys = map(keys.encode_digest_key, repeat(gallery_number, count), identity_numbers, digests)
    put_many(Database.FACE_DIGESTS, digest_keys, raw_ordinals)


def put_face_expiries(
    changes: Changes, gallery_number: int, first_ordinal: int, expire_times_us: Sequence[int]
) -> None:
    """Have faces at the ordinals from the first on found by when they expire; 0: never."""
    expiring = [(ordinal, time_us) for ordinal, time_us in enumerate(expire_times_us, first_ordinal) if time_us]
    times_us, ordinals = [time_us for _, time_us in expiring], [ordinal for ordinal, _ in expiring]
    expiries = keys.encode_expiry_many(gallery_number, times_us, keys.EXPIRY_FACE, ordinals)
    changes.put_many(Database.EXPIRY, expiries, [b""] * len(expiries))


def put_face_labels(changes: Changes, gallery_number: int, ordinal: int, labels: Mapping[str, str]) -> None:
    """Have a face found by its labels."""
    for key, value in labels.items():
        changes.put(Database.FACE_LABEL_INDEX, keys.encode_labelled(gallery_number, key, value, ordinal), b"")


def put_identity_labels(changes: Changes, gallery_number: int, number: int, labels: Mapping[str, str]) -> None:
    """Have an identity found by its labels."""
    for key, value in labels.items():
        changes.put(Database.IDENTITY_LABEL_INDEX, keys.encode_labelled(gallery_number, key, value, number), b"")


def put_identity_ids(changes: Changes, gallery_number: int, first_number: int, ids: Iterable[str]) -> None:
    """Have identities found by their numbers, which ascend from the first on."""
    raw_ids = list(map(str.encode, ids))
    numbers = range(first_number, first_number + len(raw_ids))
    changes.put_many(Database.IDENTITY_IDS, keys.encode_numbered_many(gallery_number, numbers), raw_ids)


def gallery_created(record: GalleryRecord) -> Changes:
    """A gallery that is new and empty."""
    changes = Changes()
    changes.put(Database.META, keys.META_NEXT_GALLERY_NUMBER, keys.encode_number(record.number + 1))
    changes.put_gallery(record, is_created=True)
    # Identity numbers start at 1: 0 is what a message without a number says.
    changes.put_counts(record.number, GalleryCounts(next_identity_number=1))
    return changes


def gallery_deleted(record: GalleryRecord) -> Changes:
    """A gallery that is gone, its records to be taken out later."""
    changes = Changes()
    key = keys.encode_gallery(record.number)
    changes.delete(Database.GALLERIES, key)
    changes.delete(Database.GALLERY_COUNTS, key)
    changes.delete(Database.GALLERY_NAMES, keys.encode_name(record.name, "gallery name"))
    changes.put(Database.META, keys.encode_purge(record.number), b"")
    changes.change(record.number).is_deleted = True
    changes.journal.append(JournalOperation(delete_gallery=record.number))
    return changes
