"""People with distinctive names, labels, sources and vectors, what is done to them, and a search for what is left.

The search reads every byte of the folder and shares no code with the server's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mien_server.engine import Engine, EngineOptions
from mien_server.engine.types import (
    EnrollBatch,
    EnrollItem,
    ErasureInfo,
    ErasureStateKind,
    GallerySpec,
    OperationInfo,
    OperationState,
    PackedEmbeddings,
    Probes,
    RequestToken,
    SearchChoices,
)
from mien_server.index import RebuildPolicy
from mien_server.records.deadline import Deadline
from mien_server.storage import ErasureOutcome, ErasureRun, Store, pending_erasures
from tests.unit_rows import unit_rows

__all__ = [
    "DIMENSION",
    "FACES_EACH",
    "GALLERY",
    "NEVER",
    "OPTIONS",
    "batch",
    "create",
    "enroll",
    "erase",
    "face_id",
    "history",
    "identity_id",
    "nearest_person",
    "no_index",
    "patterns",
    "run_erasures",
    "store_agrees",
    "traces",
    "vector",
]

NEVER = Deadline()
GALLERY = "people"
DIMENSION = 64
FACES_EACH = 3
WAIT_S = 120.0
TEAM = "shared-by-everybody"
_ROWS = unit_rows(20_000, DIMENSION, 17)

# An index for any gallery of more than 300 faces.
OPTIONS = EngineOptions(
    rebuild=RebuildPolicy(
        flat_bytes_max=1, flat_rows_min=300, tail_rows_max=100, growth_max=1e9, measured_growth_max=1e9
    ),
    build_thread_count=1,
)


def identity_id(person: int) -> str:
    return f"quagga-{person:05d}-id"


def display_name(person: int) -> str:
    return f"Okapi Zebrowska {person:05d}"


def face_id(person: int, face: int) -> str:
    return f"tapir-{person:05d}-{face:05d}"


def source(person: int, face: int) -> str:
    return f"/photographs/dugong/{person:05d}/{face:05d}.jpg"


def label(person: int) -> str:
    return f"numbat-{person:05d}"


def vector(person: int, face: int) -> npt.NDArray[np.float32]:
    return _ROWS[(person * 31 + face) % len(_ROWS)]


def patterns(person: int, faces: Iterable[int] = range(FACES_EACH)) -> list[bytes]:
    """Everything that only this person has; of each vector a part from its middle."""
    found = [text.encode() for text in (identity_id(person), display_name(person), label(person))]
    for face in faces:
        found += [face_id(person, face).encode(), source(person, face).encode()]
        found.append(vector(person, face).tobytes()[100:124])
    return found


def traces(store: Path, wanted: Iterable[bytes]) -> list[str]:
    """Where in the folder any of the byte strings stands."""
    searched = list(wanted)
    found = []
    for path in sorted(store.rglob("*")):
        if path.is_file():
            raw = path.read_bytes()
            found += [f"{path.relative_to(store)} at {raw.find(one)}: {one!r}" for one in searched if one in raw]
    return found


def batch(person: int, faces: Iterable[int] = range(FACES_EACH), request_id: str = "") -> EnrollBatch:
    """The request that enrols a person."""
    items = [
        EnrollItem(
            identity_id(person),
            display_name(person),
            {"badge": label(person), "team": TEAM},
            embedding=PackedEmbeddings(vector(person, face).tobytes(), DIMENSION, 1),
            face_id=face_id(person, face),
            face_labels={"badge": label(person)},
            source=source(person, face),
        )
        for face in faces
    ]
    request = RequestToken(request_id, b"\1" * 32) if request_id else None
    return EnrollBatch(GALLERY, items, request=request)


def create(engine: Engine) -> None:
    engine.galleries.create(GallerySpec(GALLERY, precomputed_name="made", precomputed_dimension=DIMENSION), None)


def enroll(engine: Engine, people: Iterable[int]) -> None:
    for person in people:
        engine.enrollment.enroll(batch(person, request_id=f"enrol-{person}"), NEVER)


def history(engine: Engine, person: int, neighbor: int) -> None:
    """Have a person's data lie wherever it can: journal, kept answers, freed pages, rows of faces deleted or moved."""
    engine.identities.update(
        GALLERY, identity_id(person), display_name=f"{display_name(person)} before", request=RequestToken("u1", b"\2")
    )
    engine.identities.update(GALLERY, identity_id(person), display_name=display_name(person))
    # Enrolled as the neighbour's and given to the person; and one of the person's that is gone already.
    engine.enrollment.enroll(
        EnrollBatch(
            GALLERY,
            [
                EnrollItem(
                    identity_id(neighbor),
                    embedding=PackedEmbeddings(vector(person, 100).tobytes(), DIMENSION, 1),
                    face_id=face_id(person, 100),
                    source=source(person, 100),
                )
            ],
        ),
        NEVER,
    )
    engine.faces.move(GALLERY, [face_id(person, 100)], identity_id(person), request=RequestToken("m1", b"\3"))
    engine.enrollment.enroll(batch(person, [101]), NEVER)
    engine.faces.delete(GALLERY, [face_id(person, 101)], request=RequestToken("d1", b"\4"))


def erase(engine: Engine, person: int) -> ErasureInfo:
    """Erase a person and wait for the end."""
    operation, _ = engine.erasures.erase(GALLERY, identity_id(person))
    ended: OperationInfo = engine.operations.wait(operation.name, WAIT_S, NEVER)
    assert ended.state is OperationState.SUCCEEDED, (ended, engine.degraded_reasons())
    assert ended.erasure is not None
    assert ended.erasure.state is ErasureStateKind.DONE
    return ended.erasure


def nearest_person(engine: Engine, person: int, face: int = 0) -> str:
    """Whose face is most similar to one of a person's."""
    probes = Probes(embeddings=PackedEmbeddings(vector(person, face).tobytes(), DIMENSION, 1))
    answer = engine.recognition.search(GALLERY, probes, k=1, choices=SearchChoices(), deadline=NEVER)
    return answer.identity_ids[0]


def no_index(_number: int) -> Future[bool]:
    """What a gallery without an index answers when codes are to be taken out of it."""
    future: Future[bool] = Future()
    future.set_result(False)
    return future


def run_erasures(
    store: Store,
    drop_from_index: Callable[[int], Future[bool]] = no_index,
    exclusively: Callable[[Callable[[], None]], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> ErasureOutcome:
    """Carry the pending erasures of a store without an engine as far as they go."""
    run = ErasureRun(store, drop_from_index, lambda *_: None, lambda: False, exclusively)
    return run.run([record.name for record in pending_erasures(store)[0]])


def store_agrees(path: Path) -> None:
    """The store opens and contradicts itself nowhere."""
    with Store.open(path) as store, store.view() as view:
        assert view.check() == []
