"""A store that kept a write and cannot show it: nobody waits for ever, nothing is lost, and it goes on once it can."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import lmdb
import pytest

from mien_server.errors import Unavailable
from mien_server.records.store_pb2 import GalleryRecord, OperationRecord
from mien_server.storage import DeleteGallery, PutOperation, Store, committing
from mien_server.storage import snapshots as snapshots_module
from mien_server.storage.committing import OUTCOME_UNKNOWN, OutcomeUnknown
from mien_server.storage.databases import Transaction
from mien_server.storage.snapshots import Snapshot, SnapshotContent, Snapshots
from tests.storage_support import OPTIONS, create, enroll, open_store, rows

VIEWS_MAX = 100


def refused_write(store: Store, gallery: GalleryRecord, face_id: str, seed: int) -> Unavailable:
    with pytest.raises(Unavailable) as refused:
        enroll(store, rows(gallery, [("ann", face_id, seed)]))
    return refused.value


def refused_view(store: Store) -> Unavailable:
    """What a view is refused with once the transactions of the published snapshot are all lent."""
    with ExitStack() as views:
        try:
            for _ in range(VIEWS_MAX):
                views.enter_context(store.view())
        except Unavailable as error:
            return error
    pytest.fail("no view was refused")


def no_memory(*_arguments: object) -> list[Transaction]:
    raise MemoryError


def kept_and_unknown(_environment: lmdb.Environment, transaction: Transaction, content: SnapshotContent) -> None:
    """A commit that was kept, and that LMDB says nothing of."""
    transaction.commit()
    raise OutcomeUnknown("a commit failed and LMDB cannot say whether it was kept", content)


def test_a_write_that_was_kept_and_cannot_be_shown(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While memory is short it is never called lost, later writes are refused and not kept, and views are refused
    rather than left waiting; then it is shown, vectors and all, and writing goes on.
    """
    with open_store(store_path, OPTIONS) as store:
        gallery = create(store)
        enroll(store, rows(gallery, [("ann", "a", 1)]))
        with monkeypatch.context() as patched:
            patched.setattr(snapshots_module, "_LENT_WAIT_S_MAX", 0.1)
            patched.setattr(Snapshots, "_open_ready", no_memory)
            assert refused_write(store, gallery, "b", 2).reason == OUTCOME_UNKNOWN
            later = refused_write(store, gallery, "c", 3)
            assert later.reason == "STORAGE_WRITE_FAILED"
            assert "nothing of this write was kept" in later.message
            with store.view() as view:
                assert view.gallery("people").face_ordinals(["a", "b"]) == {"a": 0}
            seen = refused_view(store)
            assert seen.reason == "STORAGE_READ_FAILED"
        enroll(store, rows(gallery, [("ann", "c", 3)]))
        with store.view() as view:
            assert view.check() == []
            assert view.gallery("people").face_ordinals(["a", "b", "c"]) == {"a": 0, "b": 1, "c": 2}
            assert view.gallery("people").vectors([1]).tolist() == rows(gallery, [("ann", "b", 2)]).vectors.tolist()


def test_a_write_of_unknown_outcome_is_settled_before_it_is_answered(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When LMDB can be asked again at once, the write that was kept is answered as done, once."""
    with open_store(store_path, OPTIONS) as store:
        gallery = create(store)
        with monkeypatch.context() as patched:
            patched.setattr(committing, "commit", kept_and_unknown)
            assert enroll(store, rows(gallery, [("ann", "a", 1)])).ordinals.tolist() == [0]
        with store.view() as view:
            assert view.check() == []
            assert view.gallery("people").counts.row_count == 1


def test_chores_that_cannot_be_shown_end_nobody(store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When what a deleted gallery left was taken out and cannot be shown, writes are refused until it can."""
    with open_store(store_path) as store:
        gallery = create(store)
        enroll(store, rows(gallery, [("ann", "a", 1)]))
        create(store, "other")
        real = committing.commit

        def commit_and_lose_memory(
            environment: lmdb.Environment, transaction: Transaction, content: SnapshotContent
        ) -> None:
            real(environment, transaction, content)
            if content.revision == store.revision and "people" not in content.numbers:
                patched.setattr(Snapshots, "_open_ready", no_memory)

        with monkeypatch.context() as patched:
            patched.setattr(committing, "commit", commit_and_lose_memory)
            store.write(DeleteGallery("people", force=True))
            # The chores come between two groups: the second at the latest is refused.
            store.submit(PutOperation(OperationRecord(name="operations/a"))).exception(30)
            error = store.submit(PutOperation(OperationRecord(name="operations/b"))).exception(30)
            assert isinstance(error, Unavailable)
            assert error.reason == "STORAGE_WRITE_FAILED"
        store.write(PutOperation(OperationRecord(name="operations/b")))
        create(store, "people")
        with store.view() as view:
            assert view.check() == []


class OvertakenSnapshots(Snapshots):
    """Publishes a further commit at the moment that a view waits for a transaction of the snapshot before."""

    is_overtaken = False

    def _open_another(self, snapshot: Snapshot) -> Transaction | None:
        if not self.is_overtaken:
            self.is_overtaken = True
            with self._environment.begin(write=True) as transaction:
                transaction.put(b"key", b"value")
                transaction_id = transaction.id()
            self.publish(SnapshotContent(2, transaction_id, {}, {}))
        return super()._open_another(snapshot)


def test_the_end_of_an_older_snapshot_is_told(tmp_path: Path) -> None:
    """The last holder of an older snapshot is told of also when it never got its transaction."""
    environment = lmdb.open(str(tmp_path / "meta"))
    with environment.begin() as transaction:
        first = SnapshotContent(1, transaction.id(), {}, {})
    snapshots = OvertakenSnapshots(environment, first, 4)
    released: list[int] = []
    snapshots.on_release = lambda: released.append(snapshots.oldest_transaction_id())
    snapshot, transaction = snapshots.acquire()
    assert snapshot.content.revision == 2
    assert released == [snapshot.content.transaction_id]
    snapshots.release(snapshot, transaction)
    assert snapshots.close(10)
    environment.close()
