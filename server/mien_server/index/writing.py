"""How a generation comes to be on disk: in a folder of its own beside the others, whole and durable, then renamed.

Files that do not change from one generation to the next are linked, not copied: a generation is a folder of files
that nobody ever writes to again.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from mien_server.index.crash_points import crash_point
from mien_server.index.manifest import MANIFEST_FILE_NAME, FileDigest, Manifest, digest_of
from mien_server.index.publish import LOCK_FILE_NAME, WORK_PREFIX, sync_file, sync_folder

__all__ = ["GenerationFolder", "generation_name", "work_folder"]


def generation_name(revision: int) -> str:
    """A name for a generation of this revision that no other has; names ascend with revisions."""
    return f"{revision:012d}-{secrets.token_hex(4)}"


@contextmanager
def work_folder(index_directory: Path) -> Iterator[Path]:
    """A folder to make a generation in, locked so that nobody prunes it; gone after the block. Raises OSError."""
    folder = index_directory / f"{WORK_PREFIX}{secrets.token_hex(4)}"
    folder.mkdir(parents=True)
    try:
        with (folder / LOCK_FILE_NAME).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class GenerationFolder:
    """A generation that is being written, in a work folder. Raises OSError when the disk refuses."""

    def __init__(self, work_folder: Path) -> None:
        self._work_folder = work_folder
        self._path = work_folder / "generation"
        self._path.mkdir()
        self._files: list[FileDigest] = []

    def write(self, name: str, write: Callable[[Path], None]) -> None:
        """Have a file written, and make it durable."""
        path = self._path / name
        write(path)
        crash_point("index.build.index_written")
        sync_file(path)
        self._files.append(digest_of(path))

    def link(self, generation: Path, file: FileDigest) -> None:
        """Take over a file of the generation in that folder as it is."""
        os.link(generation / file.name, self._path / file.name)
        self._files.append(file)

    def finish(self, manifest: Manifest) -> Manifest:
        """Write the manifest, with what the files are, and move the folder beside the other generations."""
        manifest = replace(manifest, files=tuple(self._files))
        manifest_path = self._path / MANIFEST_FILE_NAME
        manifest_path.write_text(manifest.to_json(), encoding="utf-8")
        crash_point("index.build.manifest_written")
        sync_file(manifest_path)
        sync_folder(self._path)
        crash_point("index.build.synced")
        self._path.rename(self._work_folder.parent / manifest.name)
        crash_point("index.build.renamed")
        sync_folder(self._work_folder.parent)
        crash_point("index.build.done")
        return manifest
