"""`mien delete identity|face`."""

from __future__ import annotations

from mien_client.cli import exits
from mien_client.cli.output import counted
from mien_client.cli.session import Arguments, Session, add_gallery
from mien_client.cli.subcommands import Subcommands

__all__ = ["add"]


def add(commands: Subcommands) -> None:
    """The arguments."""
    group = commands.add_group("delete", "delete identities or faces; they are found no more from the next search on")
    identity = group.add("identity", _identities, "delete identities with all their faces")
    identity.add_argument("ids", nargs="+", metavar="ID")
    face = group.add("face", _faces, "delete faces")
    face.add_argument("ids", nargs="+", metavar="ID")
    face.add_argument("--delete-emptied", action="store_true", help="delete an identity that is left without faces")
    for parser in (identity, face):
        add_gallery(parser)
        parser.add_argument("--allow-missing", action="store_true", help="succeed where there is nothing to delete")


def _identities(arguments: Arguments, session: Session) -> int:
    deleted = []
    for identity_id in arguments.ids:
        gone = session.client.delete_identity(arguments.gallery, identity_id, allow_missing=arguments.allow_missing)
        deleted.append({"identity_id": identity_id, "deleted_faces": gone.deleted_faces, "revision": gone.revision})
        session.output.say(f"Deleted {identity_id} with {counted(gone.deleted_faces, 'face')}.")
    session.output.document({"gallery": arguments.gallery, "deleted": deleted})
    return exits.DONE


def _faces(arguments: Arguments, session: Session) -> int:
    gone = session.client.delete_faces(
        arguments.gallery,
        arguments.ids,
        allow_missing=arguments.allow_missing,
        delete_emptied_identities=arguments.delete_emptied,
    )
    session.output.document(gone)
    session.output.say(f"Deleted {counted(gone.deleted_count, 'face')}.")
    if gone.emptied_identity_ids:
        left = "deleted too" if arguments.delete_emptied else "left without faces"
        session.output.say(f"Identities {left}: {', '.join(gone.emptied_identity_ids)}.")
    return exits.DONE
