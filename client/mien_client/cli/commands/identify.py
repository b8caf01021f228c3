"""`mien identify`: who is in these photographs?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from rich.text import Text

from mien_client import DecisionPolicy, FaceIdentification, IdentifyAnswer, ImageIdentification, ImageStatus, Limits
from mien_client.cli import exits
from mien_client.cli.annotated_files import annotate_file, output_paths, unwritable_names
from mien_client.cli.output import Output, in_short
from mien_client.cli.pictures import (
    LoadedPicture,
    Rejection,
    load,
    plain_message,
    rejection_rows,
    requests_of,
    shown,
    unusable,
)
from mien_client.cli.session import Arguments, Session, add_gallery
from mien_client.cli.subcommands import Subcommands, positive_int

__all__ = ["add"]

_EXAMPLES = """\
examples:
  mien identify party.jpg --gallery people
  mien identify party.jpg --gallery people --annotate party-named.jpg
  mien identify album/*.jpg --gallery people --annotate named/ --json
"""


def add(commands: Subcommands) -> None:
    """The arguments."""
    parser = commands.add("identify", _run, "say who is in photographs", epilog=_EXAMPLES)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILES", help="photographs")
    add_gallery(parser)
    parser.add_argument(
        "--annotate",
        type=Path,
        metavar="OUT",
        help="draw boxes and names: a file for one photograph, a folder for several",
    )
    parser.add_argument("--candidates", type=positive_int, metavar="N", help="people to list for each face")
    parser.add_argument("--threshold", type=float, metavar="S", help="similarity of a match, in place of the gallery's")


def _run(arguments: Arguments, session: Session) -> int:
    files: list[Path] = arguments.files
    places = output_paths(files, arguments.annotate) if arguments.annotate else {}
    limits = session.client.get_server_info().limits
    rejections: list[Rejection] = []
    documents: list[dict[str, object]] = []
    rows: list[tuple[str | Text, ...]] = []
    unwritable: dict[str, None] = {}
    last: IdentifyAnswer | None = None
    start_s = time.perf_counter()
    with session.output.progress("Identifying", len(files)) as advance:
        for group in requests_of(_loaded(files, limits), rejections, limits):
            last = _identify(arguments, session, group)
            for picture, found in zip(group, last.images, strict=True):
                written = _handle(picture, found, places.get(picture.path), rejections)
                if written:
                    unwritable.update(dict.fromkeys(unwritable_names(found)))
                documents.append({"file": shown(picture.path), "annotated": written, **_document(found)})
                rows.extend(_rows(shown(picture.path), found))
            advance(len(group))
    elapsed_s = time.perf_counter() - start_s
    session.output.document(
        {
            "gallery": arguments.gallery,
            "threshold": last.threshold if last else None,
            "revision": last.info.revision if last else None,
            "files": documents,
            "rejected": rejections,
        }
    )
    _print(session.output, rows, rejections, last, elapsed_s)
    if places:
        _say_where(session.output, documents, list(unwritable))
    return exits.NOT_ALL if rejections else exits.DONE


def _loaded(files: list[Path], limits: Limits) -> Iterator[LoadedPicture | Rejection]:
    return (load(file, limits) for file in files)


def _identify(arguments: Arguments, session: Session, group: list[LoadedPicture]) -> IdentifyAnswer:
    policy = None if arguments.threshold is None else DecisionPolicy(similarity=arguments.threshold)
    return session.client.identify(
        arguments.gallery,
        images=[picture.image for picture in group],
        candidate_count=arguments.candidates or 0,
        policy=policy,
    )


def _handle(
    picture: LoadedPicture, found: ImageIdentification, place: Path | None, rejections: list[Rejection]
) -> str | None:
    """Notes a picture that could not be used and draws one that could; answers where."""
    rejection = unusable(shown(picture.path), found.image)
    if rejection is not None:
        rejections.append(rejection)
        return None
    if place is None:
        return None
    refused = annotate_file(picture.image.content, found, place)
    if refused:
        rejections.append(Rejection(shown(picture.path), "NOT_ANNOTATED", refused))
        return None
    return shown(place)


def _document(found: ImageIdentification) -> dict[str, object]:
    return {
        "status": found.image.status,
        "width": found.image.width,
        "height": found.image.height,
        "error": found.image.error,
        "faces": [
            {
                "box": face.box,
                "quality": face.quality,
                "decision": who.decision,
                "candidates": who.candidates,
                "error": who.error,
            }
            for face, who in zip(found.image.faces, found.faces, strict=True)
        ],
    }


def _rows(file: str, found: ImageIdentification) -> Iterator[tuple[str | Text, ...]]:
    if found.image.status is ImageStatus.NO_FACE:
        yield (file, "-", "no face", "", "")
    for number, who in enumerate(found.faces, start=1):
        name = Text(who.match.name, style="green") if who.match else Text("Unknown", style="red")
        best = f"{who.candidates[0].similarity:.3f}" if who.candidates else ""
        yield (file if number == 1 else "", str(number), name, best, _nearest(who))


def _nearest(who: FaceIdentification) -> str:
    if who.error is not None:
        return plain_message(who.error)
    others = who.candidates[1:3] if who.match else who.candidates[:2]
    return ", ".join(f"{one.name} {one.similarity:.3f}" for one in others)


def _print(
    output: Output,
    rows: list[tuple[str | Text, ...]],
    rejections: list[Rejection],
    last: IdentifyAnswer | None,
    elapsed_s: float,
) -> None:
    if rows:
        output.table([("File", "path"), ("Face", "right"), "Who", ("Similarity", "right"), "Next nearest"], rows)
    if rejections:
        output.table([("File", "path"), "Reason", "What to do"], rejection_rows(rejections), title="Rejected")
    if last is not None:
        threshold = last.threshold
        output.say(
            f"A match is a similarity of {threshold.similarity:.3f} or more ({in_short(threshold)}). {elapsed_s:.1f} s."
        )


def _say_where(output: Output, documents: list[dict[str, object]], unwritable: list[str]) -> None:
    written = [str(one["annotated"]) for one in documents if one["annotated"]]
    if len(written) == 1:
        output.say(f"Annotated picture: {written[0]}")
    elif written:
        output.say(f"{len(written)} annotated pictures in {Path(written[0]).parent}")
    if unwritable:
        output.note(
            f"No font on this machine has the letters of {', '.join(unwritable)}; the pictures show the face's number "
            "in the table instead. A font such as Noto Sans CJK would help."
        )
