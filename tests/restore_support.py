"""Stores with people who are snapshot, erased and restored, and what must be true of them afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from mien_server.engine import Engine
from mien_server.engine.types import ErasureInfo, ErasureStateKind, OperationState
from mien_server.storage import Store
from mien_server.storage.backup import Restored, RestoreRequest, open_place, restore
from tests.erasure_support import (
    FACES_EACH,
    GALLERY,
    NEVER,
    OPTIONS,
    create,
    enroll,
    erase,
    history,
    identity_id,
    nearest_person,
    patterns,
    store_agrees,
    traces,
)
from tests.snapshot_support import unwatched

__all__ = [
    "EVERY_FACE",
    "FORGETFUL",
    "NEIGHBOR",
    "PEOPLE",
    "PERSON",
    "WAIT_S",
    "check_nothing_is_left",
    "ended",
    "erased_after_a_snapshot",
    "opened",
    "people",
    "restored",
    "snapshot",
]

PEOPLE = 12
PERSON, NEIGHBOR = 5, 6
EVERY_FACE = (*range(FACES_EACH), 100, 101)
WAIT_S = 60.0
# A journal of the newest entry alone.
FORGETFUL = replace(OPTIONS, store=replace(OPTIONS.store, journal_revisions_max=1))


def opened(store: Path, place: Path) -> Engine:
    return Engine.open(store, replace(OPTIONS, snapshot_destinations=(str(place),)))


def snapshot(engine: Engine) -> str:
    done = engine.operations.wait(engine.operations.create_snapshot("").name, WAIT_S, NEVER)
    assert done.state is OperationState.SUCCEEDED, done.error
    assert done.result_snapshot is not None
    return done.result_snapshot.name


def restored(
    place: Path,
    name: str,
    target: Path,
    to_revision: int | None = None,
    *,
    journal: str = "",
    sources: Iterable[Path] = (),
) -> Restored:
    known = tuple(map(str, sources))
    return restore(
        RestoreRequest(open_place(str(place)), name, target, to_revision, journal, OPTIONS.store, known), unwatched
    )


def people(store: Path) -> set[str]:
    """Who is in a store, as it lies there."""
    with Store.open(store, OPTIONS.store) as one, one.view() as view:
        gallery = view.gallery(GALLERY)
        return {identity_id for identity_id, _ in gallery.identities("", 1000)}


def ended(engine: Engine) -> list[ErasureInfo]:
    """Every erasure, once none is pending."""
    end_s = time.monotonic() + WAIT_S
    while engine.erasures.list("", "", 100, pending_only=True).erasures:
        assert time.monotonic() < end_s, engine.degraded_reasons()
        time.sleep(0.05)
    return list(engine.erasures.list("", "", 100).erasures)


def erased_after_a_snapshot(store: Path, place: Path) -> tuple[str, ErasureInfo]:
    """A store whose snapshot holds somebody who was erased since; with the snapshot's name."""
    with opened(store, place) as engine:
        create(engine)
        enroll(engine, range(PEOPLE))
        history(engine, PERSON, NEIGHBOR)
        name = snapshot(engine)
        return name, erase(engine, PERSON)


def check_nothing_is_left(store: Path, erasure: ErasureInfo) -> ErasureInfo:
    """A server that runs on the store carries the erasure to its end; gives it."""
    with Engine.open(store, OPTIONS) as engine:
        (again,) = [one for one in ended(engine) if one.name == erasure.name]
        assert again.state is ErasureStateKind.DONE
        assert again.receipt is not None
        assert engine.operations.wait(again.operation, WAIT_S, NEVER).state is OperationState.SUCCEEDED
        assert traces(store, patterns(PERSON, EVERY_FACE)) == []
        assert nearest_person(engine, PERSON) != identity_id(PERSON)
        assert nearest_person(engine, NEIGHBOR) == identity_id(NEIGHBOR)
        assert erasure.receipt is not None
        for receipt in (again.receipt, erasure.receipt):
            checks = engine.erasures.verify(receipt, identity_id(PERSON))
            assert all(check.passed for check in checks), checks
    store_agrees(store)
    return again
