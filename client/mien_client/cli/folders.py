"""A folder of people as photographs to enrol: one folder a person."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from mien_client.cli.exits import UsageFailure
from mien_client.cli.pictures import Rejection, shown

__all__ = ["Photograph", "people_folder", "photographs_of"]

_NOT_FOR_PEOPLE = frozenset({"thumbs.db", "desktop.ini"})


@dataclass(frozen=True, slots=True)
class Photograph:
    """A file and whose it is."""

    path: Path
    identity_id: str
    display_name: str
    # Kept with the face: the place within the folder, never the machine's path.
    source: str


def people_folder(folder: Path) -> tuple[list[Photograph], list[Rejection]]:
    """Every file of every person's folder, and what does not fit that shape.

    Raises:
        UsageFailure: there is no such folder, or it holds no person's folder.
    """
    if not folder.is_dir():
        raise UsageFailure(f"{shown(folder)} is no folder; give a folder that holds one folder a person")
    photographs: list[Photograph] = []
    rejections: list[Rejection] = []
    entries = _entries(folder)
    if not any(entry.is_dir() for entry in entries):
        what = "only loose files" if entries else "nothing"
        raise UsageFailure(
            f"{shown(folder)} holds {what}. Put each person's photographs into a folder of that person's name, "
            "or enrol one person's files with: mien enroll --identity ID FILES --gallery NAME"
        )
    for entry in entries:
        if entry.is_dir():
            _add_person(entry, photographs, rejections)
        else:
            rejections.append(
                Rejection(shown(entry), "LOOSE_FILE", "is in nobody's folder; move it into the folder of a person")
            )
    return photographs, rejections


def photographs_of(identity_id: str, display_name: str, files: list[Path]) -> list[Photograph]:
    """One person's files."""
    return [Photograph(file, identity_id, display_name, shown(Path(file.name))) for file in files]


def _add_person(folder: Path, photographs: list[Photograph], rejections: list[Rejection]) -> None:
    try:
        identity_id = unicodedata.normalize("NFC", os.fsencode(folder.name).decode())
    except UnicodeDecodeError:
        message = "has a name that is no UTF-8 and cannot be an identity's id; rename it"
        rejections.append(Rejection(shown(folder), "FOLDER_NAME_NOT_UTF8", message))
        return
    display_name = identity_id.replace("_", " ").strip()
    entries = _entries(folder)
    if not entries:
        rejections.append(Rejection(shown(folder), "EMPTY_FOLDER", "holds no photographs", identity_id))
    for entry in entries:
        if entry.is_dir():
            message = "is a folder within a person's folder; move its files up, or out if they show someone else"
            rejections.append(Rejection(shown(entry), "NESTED_FOLDER", message, identity_id))
        else:
            source = f"{identity_id}/{shown(Path(entry.name))}"
            photographs.append(Photograph(entry, identity_id, display_name, source))


def _entries(folder: Path) -> list[Path]:
    """What people put there, in the order of the names."""
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise UsageFailure(f"{shown(folder)} cannot be listed: {error.strerror or error}") from error
    return [entry for entry in found if not entry.name.startswith(".") and entry.name.lower() not in _NOT_FOR_PEOPLE]
