"""A client that writes without pause and knows what every write makes of the faces that it alone touches."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mien_client import Client, Decision, DecisionPolicy, Effort, EnrollItem, EnrollRows, Unavailable
from tests.server_processes import connect
from tests.unit_rows import Rows, unit_rows

__all__ = ["DIMENSION", "GALLERY", "Faces", "KnownFace", "Worker", "leaves"]

GALLERY = "people"
DIMENSION = 32
SHARED_IDENTITY_COUNT = 4
"""Identities that every worker gives faces to."""
FACES_EACH_MAX = 400
"""Above it a worker deletes more than it enrols."""
VECTOR_TOLERANCE = 1e-6
SIMILARITY_TOLERANCE = 1e-5


@dataclass(frozen=True, eq=False)
class KnownFace:
    """A face as the store must hold it."""

    identity_id: str
    vector: Rows

    def is_same(self, other: KnownFace) -> bool:
        return self.identity_id == other.identity_id and np.allclose(self.vector, other.vector, atol=VECTOR_TOLERANCE)


Faces = Mapping[str, KnownFace]


@dataclass(frozen=True)
class Write:
    """One write of a worker.

    Attributes:
        faces: every face that it touches, as it leaves them; None: deleted.
        identities: the identities that it makes (True) or deletes (False).
        names: display names that it gives.
        send: sends it and answers with the revision; the same request id each time.
    """

    faces: Mapping[str, KnownFace | None]
    identities: Mapping[str, bool]
    send: Callable[[Client], int]
    names: Mapping[str, str] = field(default_factory=dict)


def leaves(faces: Mapping[str, KnownFace | None], found: Faces) -> bool:
    """Whether these faces were found exactly so."""
    for face_id, wanted in faces.items():
        there = found.get(face_id)
        if (wanted is None) != (there is None):
            return False
        if wanted is not None and there is not None and not wanted.is_same(there):
            return False
    return True


def _are_named(wanted: Mapping[str, str], names: Mapping[str, str]) -> bool:
    return all(names.get(identity_id) == name for identity_id, name in wanted.items())


@dataclass
class Worker:
    """Writes until the server is gone; `faces`, `identities` and `names` are what was acknowledged.

    Between writes it searches for what it has written: an answer must show every acknowledged write, and name the right
    person.
    """

    name: str
    faces: dict[str, KnownFace] = field(default_factory=dict)
    identities: set[str] = field(default_factory=set)
    names: dict[str, str] = field(default_factory=dict)
    gone: list[Rows] = field(default_factory=list)
    pending: list[Write] = field(default_factory=list)
    revision: int = 0
    write_count: int = 0
    search_count: int = 0
    _choices: random.Random = field(default_factory=random.Random)
    _made_count: int = 0

    def run(self, address: str, seed: str) -> None:
        """Write to the server at the address until it is killed."""
        self._choices = random.Random(seed)
        with connect(address) as client:
            try:
                while True:
                    self._step(client)
            except Unavailable:
                return

    def _step(self, client: Client) -> None:
        is_full = len(self.faces) > FACES_EACH_MAX
        kinds = [
            self._enroll_items,
            self._move,
            self._delete_faces,
            self._delete_identity,
            self._erase_identity,
            self._stream,
            self._rename,
            self._search,
            self._identify,
        ]
        weights = [2, 3, 3, 5, 0.5, 0, 1, 2, 2] if is_full else [6, 3, 1, 0.9, 0.1, 3, 1, 2, 2]
        self._choices.choices(kinds, weights)[0](client)

    def _send(self, client: Client, write: Write) -> None:
        self.pending.append(write)
        self.acknowledge(write.send(client))

    def acknowledge(self, revision: int) -> None:
        """The first write under way is durable."""
        write = self.pending.pop(0)
        self.revision = max(self.revision, revision)
        self.write_count += 1
        self.apply(write)

    def apply(self, write: Write) -> None:
        """Take over what a write does."""
        for face_id, face in write.faces.items():
            if face_id in self.faces and face is None:
                self.gone.append(self.faces[face_id].vector)
            if face is None:
                self.faces.pop(face_id, None)
            else:
                self.faces[face_id] = face
        for identity_id, is_made in write.identities.items():
            if is_made:
                self.identities.add(identity_id)
            else:
                self.identities.discard(identity_id)
                self.names.pop(identity_id, None)
        self.names.update(write.names)

    def settle(self, found: Faces, names: Mapping[str, str], client: Client) -> None:
        """Decide for each write under way whether it is there, and send it again: it must have happened once.

        Args:
            found: every face that is there.
            names: the display name of every identity that is there.
        """
        before = {face_id: self.faces.get(face_id) for write in self.pending for face_id in write.faces}
        fates = []
        for write in self.pending:
            names_before = {one: self.names.get(one, "") for one in write.names}
            is_there = leaves(write.faces, found) and _are_named(write.names, names)
            is_absent = leaves({face_id: before[face_id] for face_id in write.faces}, found)
            is_absent = is_absent and _are_named(names_before, names)
            assert is_there != is_absent, f"a write of {len(write.faces)} faces, {write.names} is half there"
            fates.append(is_there)
        assert fates == sorted(fates, reverse=True), f"batches of one stream are there out of order: {fates}"
        while self.pending:
            self.acknowledge(self.pending[0].send(client))

    # --- writes -------------------------------------------------------------------------------------------------

    def _new_name(self, kind: str) -> str:
        self._made_count += 1
        return f"{self.name}-{kind}{self._made_count}"

    def _some_identity(self) -> str:
        """A shared one, one of this worker's, or a new one."""
        kind = self._choices.random()
        own = sorted(one for one in self.identities if one.startswith(self.name))
        if kind < 0.2:
            return f"shared-{self._choices.randrange(SHARED_IDENTITY_COUNT)}"
        if kind < 0.7 and own:
            return self._choices.choice(own)
        return self._new_name("person")

    def _new_faces(self, count: int) -> dict[str, KnownFace]:
        vectors = unit_rows(count, DIMENSION, self._choices.getrandbits(64))
        return {self._new_name("face"): KnownFace(self._some_identity(), vector) for vector in vectors}

    def _enroll_items(self, client: Client) -> None:
        faces = self._new_faces(self._choices.randint(1, 8))
        request_id = self._new_name("request")
        items = [EnrollItem(face.identity_id, embedding=face.vector, face_id=name) for name, face in faces.items()]

        def send(client: Client) -> int:
            answer = client.enroll_faces(GALLERY, items, request_id=request_id)
            assert [outcome.error for outcome in answer.outcomes] == [None] * len(items)
            assert not any(outcome.duplicate for outcome in answer.outcomes)
            return answer.revision

        self._send(client, _enrolment(faces, send))

    def _stream(self, client: Client) -> None:
        batches = [self._new_faces(self._choices.randint(5, 40)) for _ in range(self._choices.randint(2, 6))]
        rows = [
            EnrollRows(
                np.stack([face.vector for face in faces.values()]),
                [face.identity_id for face in faces.values()],
                list(faces),
                request_id=self._new_name("request"),
            )
            for faces in batches
        ]
        self.pending += [_enrolment(faces, _row_sender(batch)) for faces, batch in zip(batches, rows, strict=True)]
        for ack in client.stream_enroll(GALLERY, rows, window=3):
            assert ack.error is None
            assert not ack.row_errors
            assert ack.enrolled_count == len(batches[ack.batch])
            self.acknowledge(ack.revision)

    def _some_faces(self) -> tuple[list[str], set[str], bool]:
        """Faces of this worker, whose they are, and whether identities left empty may go: only its own are known."""
        chosen = self._choices.sample(sorted(self.faces), min(len(self.faces), self._choices.randint(1, 6)))
        owners = {self.faces[face_id].identity_id for face_id in chosen}
        is_own = all(owner.startswith(self.name) for owner in owners)
        return chosen, owners, is_own and self._choices.random() < 0.5

    def _emptied(self, chosen: Sequence[str], owners: set[str]) -> dict[str, bool]:
        left = {face.identity_id for face_id, face in self.faces.items() if face_id not in set(chosen)}
        return {owner: False for owner in owners if owner not in left}

    def _move(self, client: Client) -> None:
        chosen, owners, deletes_emptied = self._some_faces()
        target, request_id = self._some_identity(), self._new_name("request")
        if not chosen or target in owners:
            return
        faces = {face_id: KnownFace(target, self.faces[face_id].vector) for face_id in chosen}
        identities = {target: True} | (self._emptied(chosen, owners) if deletes_emptied else {})

        def send(client: Client) -> int:
            moved = client.move_faces(
                GALLERY, chosen, target, delete_emptied_identities=deletes_emptied, request_id=request_id
            )
            assert moved.moved_count == len(chosen)
            return moved.revision

        self._send(client, Write(faces, identities, send))

    def _delete_faces(self, client: Client) -> None:
        chosen, owners, deletes_emptied = self._some_faces()
        request_id = self._new_name("request")
        if not chosen:
            return
        identities = self._emptied(chosen, owners) if deletes_emptied else {}

        def send(client: Client) -> int:
            deleted = client.delete_faces(
                GALLERY, chosen, delete_emptied_identities=deletes_emptied, request_id=request_id
            )
            assert deleted.deleted_count == len(chosen)
            return deleted.revision

        self._send(client, Write(dict.fromkeys(chosen), identities, send))

    def _own_identity(self) -> tuple[str, list[str]]:
        """One of this worker's identities that have faces, and these; "" where there is none."""
        own = sorted({face.identity_id for face in self.faces.values() if face.identity_id.startswith(self.name)})
        chosen = self._choices.choice(own) if own else ""
        return chosen, [face_id for face_id, face in self.faces.items() if face.identity_id == chosen]

    def _erase_identity(self, client: Client) -> None:
        (chosen, faces), request_id = self._own_identity(), self._new_name("request")
        if not chosen:
            return

        def send(client: Client) -> int:
            return client.erase_identity(GALLERY, chosen, request_id=request_id).revision

        self._send(client, Write(dict.fromkeys(faces), {chosen: False}, send))

    def _delete_identity(self, client: Client) -> None:
        (chosen, faces), request_id = self._own_identity(), self._new_name("request")
        if not chosen:
            return

        def send(client: Client) -> int:
            deleted = client.delete_identity(GALLERY, chosen, request_id=request_id)
            assert deleted.deleted_faces == len(faces)
            return deleted.revision

        self._send(client, Write(dict.fromkeys(faces), {chosen: False}, send))

    def _rename(self, client: Client) -> None:
        own = sorted(one for one in self.identities if one.startswith(self.name))
        if not own:
            return
        chosen, name, request_id = self._choices.choice(own), self._new_name("name"), self._new_name("request")

        def send(client: Client) -> int:
            return client.update_identity(GALLERY, chosen, display_name=name, request_id=request_id).revision

        self._send(client, Write({}, {}, send, {chosen: name}))

    # --- reads --------------------------------------------------------------------------------------------------

    def _search(self, client: Client) -> None:
        """A face that is there is found, one that was deleted is not, and each has the right person."""
        for face_id in self._choices.sample(sorted(self.faces), min(len(self.faces), 3)):
            face = self.faces[face_id]
            answer = client.search_faces(GALLERY, embeddings=face.vector, k=3, min_revision=self.revision)
            best = answer.embeddings[0].neighbors[0]
            assert (best.face_id, best.identity_id) == (face_id, face.identity_id)
            assert abs(best.similarity - 1.0) < SIMILARITY_TOLERANCE
            self.search_count += 1
        for vector in self.gone[-2:]:
            answer = client.search_faces(GALLERY, embeddings=vector, k=1, min_revision=self.revision)
            assert all(one.similarity < 1.0 - SIMILARITY_TOLERANCE for one in answer.embeddings[0].neighbors)
            self.search_count += 1

    def _identify(self, client: Client) -> None:
        """Somebody's very face is identified as that person, under the name given last."""
        own = sorted(face_id for face_id, face in self.faces.items() if face.identity_id.startswith(self.name))
        for face_id in self._choices.sample(own, min(len(own), 3)):
            face = self.faces[face_id]
            answer = client.identify(
                GALLERY,
                embeddings=face.vector,
                policy=DecisionPolicy(similarity=0.99),
                effort=Effort(exact=True),
                min_revision=self.revision,
            )
            match = answer.embeddings[0].candidates[0]
            assert answer.embeddings[0].decision is Decision.MATCH
            assert (match.identity_id, match.display_name) == (face.identity_id, self.names.get(face.identity_id, ""))
            self.search_count += 1


def _enrolment(faces: Mapping[str, KnownFace], send: Callable[[Client], int]) -> Write:
    return Write(faces, {face.identity_id: True for face in faces.values()}, send)


def _row_sender(rows: EnrollRows) -> Callable[[Client], int]:
    def send(client: Client) -> int:
        [ack] = client.stream_enroll(GALLERY, [rows])
        assert ack.error is None
        assert not ack.row_errors
        assert ack.enrolled_count == len(rows.face_ids)
        return ack.revision

    return send
