"""Where annotated pictures go, and what is written into them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from mien_client import ImageIdentification
from mien_client.cli.annotate import Mark, draw_marks, save_picture, upright
from mien_client.cli.exits import UsageFailure
from mien_client.cli.fonts import can_be_written
from mien_client.cli.pictures import shown

__all__ = ["annotate_file", "marks_of", "output_paths", "unwritable_names"]


def output_paths(files: list[Path], place: Path) -> dict[Path, Path]:
    """Where each file's annotated picture goes.

    Args:
        files: the photographs.
        place: a file for one photograph; a folder for several, for an existing folder, or with a slash at the end.

    Raises:
        UsageFailure: the place does not fit, or would overwrite a photograph.
    """
    writable = {ending for ending, kind in Image.registered_extensions().items() if kind in Image.SAVE}
    # A name without an ending is a folder: there is no picture type to write.
    if len(files) == 1 and not place.is_dir() and place.suffix:
        places = {files[0]: place}
    elif place.is_file() or (place.suffix.lower() in writable and not place.is_dir()):
        raise UsageFailure(f"--annotate: several photographs need a folder; {shown(place)} names a file")
    else:
        places = _in_folder(files, place)
    for file, target in places.items():
        if target.suffix.lower() not in writable:
            raise UsageFailure(
                f"--annotate {shown(target)}: no picture type ends in {target.suffix!r}; use .jpg or .png"
            )
        # A folder for several is made when it is not there; one above a file is rather a slip of the keyboard.
        if target == place and not place.parent.is_dir():
            raise UsageFailure(f"--annotate {shown(place)}: there is no folder {shown(place.parent)}; make it first")
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
    """A name and a similarity in green for a match, "Unknown" in red otherwise.

    A name in letters that no font has gives way to the face's number, counted from 1 as in the table.
    """
    marks = []
    for number, (face, who) in enumerate(zip(found.image.faces, found.faces, strict=True), start=1):
        text = "Unknown"
        if who.match:
            name = who.match.name if can_be_written(who.match.name) else f"face {number}"
            text = f"{name} {who.match.similarity:.2f}"
        marks.append(Mark(face.box, text, who.match is not None))
    return marks


def unwritable_names(found: ImageIdentification) -> list[str]:
    """The names that no font of this machine has the letters of."""
    return [who.match.name for who in found.faces if who.match and not can_be_written(who.match.name)]
