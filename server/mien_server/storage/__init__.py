"""The store: one directory that one server owns, and the only truth about galleries, identities and faces.

LMDB is the commit point; vectors lie beside it in row-addressed files whose committed length LMDB knows. A write is
a command (`commands`), taken by one writer thread that commits commands in groups; a reader holds a `StoreView`, an
immutable snapshot that no write changes. Only this package imports lmdb, and it imports neither the index nor the
embedding. Everything else in here serves these names.
"""

from mien_server.storage.commands import (
    Command,
    CreateGallery,
    DeletedCounts,
    DeletedFacesResult,
    DeleteFaces,
    DeleteGallery,
    DeleteIdentity,
    EnrollResult,
    EnrollRows,
    EraseFaces,
    ForgetOperations,
    ForgetSnapshot,
    IdentitySeed,
    MovedFacesResult,
    MoveFaces,
    PutIdentity,
    PutOperation,
    PutSnapshot,
    RemovedExpired,
    RemoveExpired,
    UpdateGallery,
)
from mien_server.storage.databases import checked_databases as patrolled_databases
from mien_server.storage.doubts import Doubts as Damages
from mien_server.storage.erasure.deleting import delete_rest
from mien_server.storage.erasure.notes import ErasureState, is_pending
from mien_server.storage.erasure.reading import pending_erasures
from mien_server.storage.erasure.run import INDEX_BUSY as ERASURE_INDEX_BUSY
from mien_server.storage.erasure.run import WAITING_FOR_READERS, ErasureOutcome, ErasureRun
from mien_server.storage.erasure.verifying import ReceiptCheck, check_receipt
from mien_server.storage.gallery_state import LabelFacts
from mien_server.storage.gallery_view import Face, FaceHeads, GalleryView
from mien_server.storage.options import StoreOptions
from mien_server.storage.outcomes import Committed, Replayed, RequestKey, request_erased
from mien_server.storage.postings import Subject, ValueKind
from mien_server.storage.store import Store
from mien_server.storage.views import StoreView

__all__ = [
    "ERASURE_INDEX_BUSY",
    "WAITING_FOR_READERS",
    "Command",
    "Committed",
    "CreateGallery",
    "Damages",
    "DeleteFaces",
    "DeleteGallery",
    "DeleteIdentity",
    "DeletedCounts",
    "DeletedFacesResult",
    "EnrollResult",
    "EnrollRows",
    "EraseFaces",
    "ErasureOutcome",
    "ErasureRun",
    "ErasureState",
    "Face",
    "FaceHeads",
    "ForgetOperations",
    "ForgetSnapshot",
    "GalleryView",
    "IdentitySeed",
    "LabelFacts",
    "MoveFaces",
    "MovedFacesResult",
    "PutIdentity",
    "PutOperation",
    "PutSnapshot",
    "ReceiptCheck",
    "RemoveExpired",
    "RemovedExpired",
    "Replayed",
    "RequestKey",
    "Store",
    "StoreOptions",
    "StoreView",
    "Subject",
    "UpdateGallery",
    "ValueKind",
    "check_receipt",
    "delete_rest",
    "is_pending",
    "patrolled_databases",
    "pending_erasures",
    "request_erased",
]
