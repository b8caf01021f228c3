"""Where annotated pictures go, and what is written into them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from mien_client import ImageIdentification
from mien_client.cli.annotate import Mark, draw_marks, save_picture, upright
from mien_client.cli.exits import UsageFailure
from mien_client.cli.pictures import shown

__all__ = ["annotate_file", "marks_of", "output_paths"]


def output_paths(files: list[Path], place: Path) -> dict[Path, Path]:
    """Where each file's annotated picture goes.

    Args:
        files: the photographs.
        place: a file for one photograph; a folder for several, for an existing folder, or with a slash at the end.

    Raises:
        UsageFailure: the place does not fit, or would overwrite a photograph.
    """
    # A name without an ending is a folder: there is no picture type to write.
    if len(files) == 1 and not place.is_dir() and place.suffix:
        places = {files[0]: place}
    elif place.is_file():
        raise UsageFailure(f"--annotate {shown(place)} is a file; {len(files)} photographs need a folder")
    else:
        places = _in_folder(files, place)
    writable = {ending for ending, kind in Image.registered_extensions().items() if kind in Image.SAVE}
    for file, target in places.items():
        if target.suffix.lower() not in writable:
            raise UsageFailure(
                f"--annotate {shown(target)}: no picture type ends in {target.suffix!r}; use .jpg or .png"
            )
        if target.exists() and file.exists() and target.samefile(file):
            raise UsageFailure(f"--annotate {shown(target)} would overwrite the photograph itself; name another place")
    return places


def _in_folder(files: list[Path], folder: Path) -> dict[Path, Path]:
    """Names as they are, with a number where two files share one."""
    places: dict[Path, Path] = {}
    taken: set[str] = set()
    for file in dict.fromkeys(files):
        ending = ".png" if file.suffix.lower() == ".png" else ".jpg"
        name, number = f"{file.stem}{ending}", 2
        while name in taken:
            name, number = f"{file.stem}-{number}{ending}", number + 1
        taken.add(name)
        places[file] = folder / name
    return places


def annotate_file(content: bytes, found: ImageIdentification, place: Path) -> str:
    """Draws who was found and writes the picture; answers what went wrong, or an empty string."""
    try:
        picture = upright(content)
        save_picture(draw_marks(picture, marks_of(found)), place)
    except (OSError, ValueError) as error:
        return f"cannot be drawn to {shown(place)}: {error}"
    return ""


def marks_of(found: ImageIdentification) -> list[Mark]:
    """A name and a similarity in green for a match, "Unknown" in red otherwise."""
    marks = []
    for face, who in zip(found.image.faces, found.faces, strict=True):
        text = f"{who.match.name} {who.match.similarity:.2f}" if who.match else "Unknown"
        marks.append(Mark(face.box, text, who.match is not None))
    return marks
