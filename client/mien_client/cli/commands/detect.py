"""`mien detect`: which faces are there, and how good are they?"""

from __future__ import annotations

from pathlib import Path

from mien_client import ImageFaces, ImageStatus
from mien_client.cli import exits
from mien_client.cli.pictures import Rejection, load, rejection_rows, requests_of, shown, unusable
from mien_client.cli.session import Arguments, Session
from mien_client.cli.subcommands import Subcommands

__all__ = ["add"]


def add(commands: Subcommands) -> None:
    """The arguments."""
    parser = commands.add("detect", _run, "find the faces of photographs and rate them")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILES", help="photographs")
    parser.add_argument("--recipe", default="", help="the server's default if absent")
    parser.add_argument("--landmarks", action="store_true", help="with --json: add the 68 landmarks")


def _run(arguments: Arguments, session: Session) -> int:
    files: list[Path] = arguments.files
    limits = session.client.get_server_info().limits
    rejections: list[Rejection] = []
    found: list[tuple[str, ImageFaces]] = []
    with session.output.progress("Detecting", len(files)) as advance:
        for group in requests_of((load(file, limits) for file in files), rejections, limits):
            answer = session.client.detect_faces(
                [picture.image for picture in group],
                recipe=arguments.recipe,
                include_sixty_eight_landmarks=arguments.landmarks,
            )
            found.extend((shown(picture.path), image) for picture, image in zip(group, answer.images, strict=True))
            advance(len(group))
    rejections.extend(refused for refused in (unusable(file, image) for file, image in found) if refused)
    files_found = [{"file": file, "image": image} for file, image in found]
    session.output.document({"files": files_found, "rejected": rejections})
    session.output.table(
        [("File", "path"), ("Face", "right"), "Box", ("Detector", "right"), ("Quality", "right"), "Weaknesses"],
        [row for file, image in found for row in _rows(file, image)],
    )
    if rejections:
        session.output.table([("File", "path"), "Reason", "What to do"], rejection_rows(rejections), title="Rejected")
    return exits.NOT_ALL if rejections else exits.DONE


def _rows(file: str, image: ImageFaces) -> list[tuple[str, ...]]:
    if image.status is ImageStatus.NO_FACE:
        return [(file, "-", "no face", "", "", "")]
    return [
        (
            file,
            str(number),
            f"{face.box.width:.0f}x{face.box.height:.0f}+{face.box.left:.0f}+{face.box.top:.0f}",
            f"{face.detector_score:.2f}",
            f"{face.quality.score:.2f}",
            ", ".join(reason.lower().replace("_", " ") for reason in face.quality.reasons),
        )
        for number, face in enumerate(image.faces, start=1)
    ]
