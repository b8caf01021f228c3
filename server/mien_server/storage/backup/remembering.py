"""What a snapshot says of people who were erased since, before a journal that names them no more is replayed on it.

Afterwards no record names them, but freed pages and kept answers of the snapshot do: who is to be searched for is noted
while it is known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from mien_server.records.store_pb2 import ErasureRecord, ErasureWork, IdentityRecord
from mien_server.storage import keys
from mien_server.storage.backup.hashes import Hashes, is_about
from mien_server.storage.backup.known_erasures import KnownErasures
from mien_server.storage.databases import Database
from mien_server.storage.erasure.redaction import face_texts, identity_texts
from mien_server.storage.reading import RecordReader
from mien_server.storage.values import decode_face

__all__ = ["remember"]


def remember(records: RecordReader, known: Sequence[KnownErasures]) -> dict[str, ErasureWork]:
    """What is to be searched for of each person who is there and was erased since, by the erasure's name.

    Raises:
        CorruptStore: a record cannot be read.
    """
    revision = records.revision()
    there = {record.name for record in records.erasures_before("")}
    numbers = {gallery.name: gallery.number for gallery in records.galleries()}
    wanted: dict[int, Hashes[tuple[ErasureRecord, bool]]] = defaultdict(Hashes)
    for one in known:
        is_of_line = bool(one.erasures) and one.is_of_line(records, revision)
        for erasure in one.erasures:
            number = erasure.gallery_number if is_of_line else numbers.get(erasure.gallery_name, 0)
            if one.secret is not None and erasure.name not in there and number in numbers.values():
                wanted[number].add(one.secret, erasure, (erasure, is_of_line))
    found: dict[str, ErasureWork] = {}
    for number, hashes in wanted.items():
        for identity_id, identity, (erasure, is_of_line) in hashes.people(records, number):
            if erasure.name not in found and is_about(erasure, identity):
                ordinals = erasure.ordinals if is_of_line else ()
                found[erasure.name] = _noted(records, number, identity_id, identity, ordinals)
    return found


def _noted(
    records: RecordReader, number: int, identity_id: str, identity: IdentityRecord, ordinals: Sequence[int]
) -> ErasureWork:
    """Notes of an identity; rows that became theirs later are another's yet."""
    theirs = sorted({*records.faces_of(number, identity.number).tolist(), *ordinals})
    face_keys = keys.encode_numbered_many(number, theirs)
    values = records.reading.get_many(Database.FACES, face_keys)
    faces = [decode_face(key, raw) for key, raw in zip(face_keys, values, strict=True) if raw is not None]
    texts = identity_texts(identity).union(*map(face_texts, faces))
    return ErasureWork(
        identity_number=identity.number,
        identity_id=identity_id,
        face_ids=sorted(face.face_id for face in faces),
        texts=sorted(texts),
        create_times_us={identity.number: identity.create_time_us},
    )
