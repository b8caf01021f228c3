"""`mien list [identities|faces]`."""

from __future__ import annotations

import argparse
from itertools import islice

from mien_client import Face, Filter, Identity
from mien_client.cli import exits
from mien_client.cli.expiring import moment_words
from mien_client.cli.session import Arguments, Session, add_gallery
from mien_client.cli.subcommands import Subcommands, zero_or_more

__all__ = ["add"]

_LIMIT = 1000


def add(commands: Subcommands) -> None:
    """The arguments."""
    parser = commands.add("list", _run, "list the identities or faces of a gallery")
    parser.add_argument("what", nargs="?", choices=["identities", "faces"], default="identities")
    add_gallery(parser)
    parser.add_argument("--identity", default="", metavar="ID", help="only the faces of this identity")
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        type=_label,
        metavar="KEY=VALUE",
        help="only people who carry this label; may be given again for others that they must carry too",
    )
    parser.add_argument(
        "--limit", type=zero_or_more, default=_LIMIT, metavar="N", help=f"stop after N; 0 lists all; default: {_LIMIT}"
    )


def _label(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is no KEY=VALUE")
    return key, value


def _run(arguments: Arguments, session: Session) -> int:
    # One more than wanted tells whether there are more.
    stop = arguments.limit + 1 if arguments.limit > 0 else None
    if arguments.identity and arguments.what == "identities":
        raise exits.UsageFailure("--identity goes with: mien list faces")
    client, gallery, chosen = session.client, arguments.gallery, Filter(identity_labels=dict(arguments.label))
    if arguments.what == "faces":
        faces = list(islice(client.list_faces(gallery, identity_id=arguments.identity, filter=chosen), stop))
        is_cut = _cut(faces, stop)
        total = client.count_faces(gallery, identity_id=arguments.identity, filter=chosen)
        session.output.document({"faces": faces, "is_cut": is_cut, "total_size": total})
        session.output.table(
            ["Face", "Identity", ("Source", "path"), ("Quality", "right"), "Enrolled", "Expires"], map(_face_row, faces)
        )
    else:
        people = list(islice(client.list_identities(gallery, filter=chosen), stop))
        is_cut = _cut(people, stop)
        total = client.count_identities(gallery, filter=chosen)
        session.output.document({"identities": people, "is_cut": is_cut, "total_size": total})
        session.output.table(["Identity", "Name", ("Faces", "right"), "Labels", "Expires"], map(_identity_row, people))
    if is_cut:
        session.output.note(f"These are {arguments.limit} of {total}; --limit 0 lists all.")
    return exits.DONE


def _cut(found: list[Face] | list[Identity], stop: int | None) -> bool:
    if stop is None or len(found) < stop:
        return False
    found.pop()
    return True


def _identity_row(one: Identity) -> tuple[str, ...]:
    labels = ", ".join(f"{key}={value}" for key, value in sorted(one.labels.items()))
    return (one.id, one.display_name, str(one.face_count), labels, moment_words(one.expire_time))


def _face_row(one: Face) -> tuple[str, ...]:
    quality = f"{one.quality.score:.2f}" if one.quality else ""
    when = moment_words(one.create_time)
    return (one.id, one.identity_id, one.source, quality, when, moment_words(one.expire_time))
