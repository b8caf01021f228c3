"""The writes of a store, one file a verb.

A command is a frozen dataclass that plans itself: it reads what the commands before it left, raises an error of
`mien_server.errors` or says what it would write, and writes nothing itself. The writer applies the plan.
"""

from mien_server.storage.commands.base import Command, Plan, Planning
from mien_server.storage.commands.create_gallery import CreateGallery
from mien_server.storage.commands.delete_faces import DeletedFacesResult, DeleteFaces
from mien_server.storage.commands.delete_gallery import DeletedCounts, DeleteGallery
from mien_server.storage.commands.delete_identity import DeleteIdentity
from mien_server.storage.commands.enroll_rows import EnrollResult, EnrollRows, IdentitySeed
from mien_server.storage.commands.erase_faces import EraseFaces
from mien_server.storage.commands.forget_operations import ForgetOperations
from mien_server.storage.commands.move_faces import MovedFacesResult, MoveFaces
from mien_server.storage.commands.put_erasure import PutErasures
from mien_server.storage.commands.put_identity import PutIdentity
from mien_server.storage.commands.put_operation import PutOperation
from mien_server.storage.commands.redact_records import ForgetAnswers, ForgetJournal, Redaction, RedactRecords
from mien_server.storage.commands.remove_expired import RemovedExpired, RemoveExpired
from mien_server.storage.commands.rewrite_records import RewriteRecords
from mien_server.storage.commands.snapshots import ForgetSnapshot, PutSnapshot
from mien_server.storage.commands.update_gallery import UpdateGallery

__all__ = [
    "Command",
    "CreateGallery",
    "DeleteFaces",
    "DeleteGallery",
    "DeleteIdentity",
    "DeletedCounts",
    "DeletedFacesResult",
    "EnrollResult",
    "EnrollRows",
    "EraseFaces",
    "ForgetAnswers",
    "ForgetJournal",
    "ForgetOperations",
    "ForgetSnapshot",
    "IdentitySeed",
    "MoveFaces",
    "MovedFacesResult",
    "Plan",
    "Planning",
    "PutErasures",
    "PutIdentity",
    "PutOperation",
    "PutSnapshot",
    "RedactRecords",
    "Redaction",
    "RemoveExpired",
    "RemovedExpired",
    "RewriteRecords",
    "UpdateGallery",
]
