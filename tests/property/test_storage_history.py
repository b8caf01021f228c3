"""Whatever is done to a store, in whatever order, it agrees with a model of a few dictionaries, and with itself."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mien_server.errors import AlreadyExists, MienError, NotFound, PreconditionFailed
from mien_server.records.policies import Duplicates
from mien_server.records.store_pb2 import VECTOR_TYPE_FLOAT32, GalleryRecord
from mien_server.storage import (
    Committed,
    CreateGallery,
    DeleteFaces,
    DeleteGallery,
    DeleteIdentity,
    MoveFaces,
    PutIdentity,
    Store,
    StoreOptions,
    Subject,
)
from tests.storage_support import create, digest, enroll, labelled, open_store, rows, vector

GALLERIES = st.sampled_from(["a", "b"])
PEOPLE = st.sampled_from(["ann", "bob", "çem", "d" * 256])
FACES = st.integers(0, 12).map(lambda number: f"face-{number}")
SEEDS = st.integers(0, 8)
# Small, so that groups, trimming and growth happen within a few steps.
OPTIONS = StoreOptions(map_size_bytes=1 << 30, group_rows_max=4, journal_revisions_max=3, ready_reader_count_max=2)


@dataclass
class ModelFace:
    owner: str
    ordinal: int
    seed: int
    labels: dict[str, str]


@dataclass
class ModelGallery:
    record: GalleryRecord
    row_count: int = 0
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    faces: dict[str, ModelFace] = field(default_factory=dict)

    def owned(self, identity_id: str) -> list[str]:
        return [face_id for face_id, face in self.faces.items() if face.owner == identity_id]

    def drop_empty(self, touched: set[str], *, delete: bool) -> list[str]:
        emptied = sorted((one for one in touched if not self.owned(one)), key=str.encode)
        for identity_id in emptied if delete else []:
            del self.labels[identity_id]
        return emptied


class StoreHistory(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "store"
        self.store: Store = open_store(self.path, OPTIONS)
        # Rules are switched off at random: were galleries only made by one, most histories would be empty.
        self.model = {name: ModelGallery(create(self.store, name)) for name in ("a", "b")}
        self.revision = 2

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @rule(name=GALLERIES)
    def create_gallery(self, name: str) -> None:
        if name in self.model:
            record = GalleryRecord(name=name, dimension=8, vector_type=VECTOR_TYPE_FLOAT32)
            self.refuses(AlreadyExists, "GALLERY_EXISTS", CreateGallery(record, galleries_max=9))
            return
        self.model[name] = ModelGallery(create(self.store, name))
        self.revision += 1

    @rule(name=GALLERIES, force=st.booleans())
    def delete_gallery(self, name: str, force: bool) -> None:
        command = DeleteGallery(name, force=force)
        if name not in self.model:
            self.refuses(NotFound, "GALLERY_NOT_FOUND", command)
            return
        gallery = self.model[name]
        if gallery.labels and not force:
            self.refuses(PreconditionFailed, "GALLERY_NOT_EMPTY", command)
            return
        counts = self.accepts(command)
        assert (counts.identity_count, counts.face_count) == (len(gallery.labels), len(gallery.faces))
        del self.model[name]

    @rule(
        name=GALLERIES,
        faces=st.lists(st.tuples(PEOPLE, FACES, SEEDS), min_size=1, max_size=6),
        duplicates=st.sampled_from(list(Duplicates)),
        label=st.sampled_from(["", "red", "blue"]),
    )
    def enrol(self, name: str, faces: list[tuple[str, str, int]], duplicates: Duplicates, label: str) -> None:
        if name not in self.model:
            return
        gallery = self.model[name]
        labels = {0: {"colour": label}} if label else {}
        result = enroll(self.store, rows(gallery.record, faces, duplicates=duplicates, labels=labels))
        had = set(gallery.labels)
        first = gallery.row_count
        for row, (identity_id, face_id, seed) in enumerate(faces):
            there = gallery.faces.get(face_id)
            same = there is not None and (there.owner, there.seed) == (identity_id, seed)
            if there is not None and (duplicates == Duplicates.ALLOW or not same):
                assert result.errors[row].reason == "FACE_ID_EXISTS"
                continue
            twins = [one for one in gallery.owned(identity_id) if gallery.faces[one].seed == seed]
            if twins and duplicates == Duplicates.REFUSE:
                assert result.errors[row].reason == "FACE_DUPLICATE"
            elif twins and duplicates == Duplicates.SKIP:
                twin = result.face_ids[row]
                assert twin in twins
                assert result.is_duplicate[row]
                assert result.ordinals[row] == gallery.faces[twin].ordinal
            else:
                assert result.ordinals[row] == gallery.row_count
                assert result.identity_created[row] == (identity_id not in gallery.labels)
                gallery.faces[face_id] = ModelFace(identity_id, gallery.row_count, seed, labels.get(row, {}))
                gallery.labels.setdefault(identity_id, {})
                gallery.row_count += 1
        assert set(gallery.labels) >= had
        self.revision += gallery.row_count > first

    @rule(name=GALLERIES, identity_id=PEOPLE, label=st.sampled_from([None, "x", "y"]))
    def put_identity(self, name: str, identity_id: str, label: str | None) -> None:
        if name not in self.model:
            return
        labels = None if label is None else {"team": label}
        record = self.accepts(PutIdentity(name, identity_id, labels=labels, allow_missing=True))
        kept = self.model[name].labels.setdefault(identity_id, {})
        if labels is not None:
            kept.clear()
            kept.update(labels)
        assert dict(record.labels) == kept

    @rule(name=GALLERIES, identity_id=PEOPLE)
    def delete_identity(self, name: str, identity_id: str) -> None:
        if name not in self.model:
            return
        gallery = self.model[name]
        if identity_id not in gallery.labels:
            self.refuses(NotFound, "IDENTITY_NOT_FOUND", DeleteIdentity(name, identity_id))
            return
        gone = gallery.owned(identity_id)
        assert self.accepts(DeleteIdentity(name, identity_id)) == len(gone)
        for face_id in gone:
            del gallery.faces[face_id]
        del gallery.labels[identity_id]

    @rule(name=GALLERIES, face_ids=st.lists(FACES, min_size=1, max_size=4), receiver=PEOPLE, delete=st.booleans())
    def move_faces(self, name: str, face_ids: list[str], receiver: str, delete: bool) -> None:
        if name not in self.model:
            return
        gallery = self.model[name]
        command = MoveFaces(name, face_ids, receiver, delete_emptied_identities=delete)
        if not set(face_ids) <= gallery.faces.keys():
            self.refuses(NotFound, "FACE_NOT_FOUND", command)
            return
        moved = {face_id for face_id in face_ids if gallery.faces[face_id].owner != receiver}
        result = self.accepts(command, advances=bool(moved))
        sources = {gallery.faces[face_id].owner for face_id in moved}
        for face_id in moved:
            gallery.faces[face_id].owner = receiver
        if moved:
            gallery.labels.setdefault(receiver, {})
        assert result.moved_count == len(moved)
        assert result.emptied_identity_ids == gallery.drop_empty(sources, delete=delete)

    @rule(name=GALLERIES, face_ids=st.lists(FACES, min_size=1, max_size=4), missing=st.booleans(), delete=st.booleans())
    def delete_faces(self, name: str, face_ids: list[str], missing: bool, delete: bool) -> None:
        if name not in self.model:
            return
        gallery = self.model[name]
        command = DeleteFaces(name, face_ids, allow_missing=missing, delete_emptied_identities=delete)
        there = set(face_ids) & gallery.faces.keys()
        if not missing and there != set(face_ids):
            self.refuses(NotFound, "FACE_NOT_FOUND", command)
            return
        result = self.accepts(command, advances=bool(there))
        sources = {gallery.faces.pop(face_id).owner for face_id in there}
        assert result.deleted_count == len(there)
        assert result.emptied_identity_ids == gallery.drop_empty(sources, delete=delete)

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = open_store(self.path, OPTIONS)

    @invariant()
    def agrees(self) -> None:
        """Counts are exact, every live row resolves to its face, and nothing contradicts itself."""
        with self.store.view() as view:
            assert view.check() == []
            assert view.revision == self.revision
            assert [gallery.name for gallery in view.galleries()] == sorted(self.model)
            for name, model in self.model.items():
                gallery = view.gallery(name)
                counts = gallery.counts
                assert counts.identity_count == len(model.labels)
                assert counts.face_count == gallery.rows.live_count == len(model.faces)
                assert counts.row_count == gallery.rows.row_count == model.row_count
                ids = [identity_id for identity_id, _ in gallery.identities()]
                assert ids == sorted(model.labels, key=str.encode)
                live = gallery.live_ordinals(-1, 1000)
                heads = gallery.heads(live)
                assert heads.face_ids == sorted(model.faces, key=lambda face_id: model.faces[face_id].ordinal)
                assert np.array_equal(heads.identity_numbers, gallery.rows.identity_numbers[live])
                faces = [model.faces[face_id] for face_id in heads.face_ids]
                assert gallery.identity_ids(heads.identity_numbers) == [face.owner for face in faces]
                assert [face.record.digest for face in gallery.faces(live)] == [digest(face.seed) for face in faces]
                expected = np.array([vector(face.seed) for face in faces]).reshape(-1, 8)
                assert np.array_equal(gallery.vectors(live), expected)
                red = [face.ordinal for face in faces if face.labels.get("colour") == "red"]
                assert labelled(gallery, Subject.FACE, "colour", "red") == red

    def accepts(self, command, *, advances: bool = True):
        answer = self.store.write(command)
        assert isinstance(answer, Committed)
        self.revision += advances
        assert answer.revision == self.revision
        return answer.result

    def refuses(self, error: type[MienError], reason: str, command) -> None:
        with pytest.raises(error) as refusal:
            self.store.write(command)
        assert refusal.value.reason == reason


StoreHistory.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestStoreHistory = StoreHistory.TestCase
