"""Small file systems of a test's own, in a mount namespace that goes away with the process that holds it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

__all__ = ["MountNamespace"]

COMMAND_TIME_MAX_S = 60.0
NEEDED = ("unshare", "nsenter", "mount", "umount")


class MountNamespace:
    """Mounts that no other process sees but through `path`. Skips where that needs rights that are missing.

    Args:
        folder: where things are mounted, below it.
    """

    def __init__(self, folder: Path) -> None:
        missing = [name for name in NEEDED if shutil.which(name) is None]
        if os.getuid() != 0 or missing:
            pytest.skip(f"mounting needs root, and {', '.join(NEEDED)}; here: uid {os.getuid()}, without {missing}")
        self._folder = folder
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo ready; exec cat"]
        self._holder = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "ready\n":
            _, why = self._holder.communicate()
            pytest.skip(f"no mount namespace of one's own here: {why}")

    def mount(self, name: str, *arguments: str) -> Path:
        """Mount on a new folder of that name; gives the path that leads there from outside."""
        place = self._folder / name
        place.mkdir(exist_ok=True)
        self.run("mount", *arguments, str(place))
        return Path(f"/proc/{self._holder.pid}/root{place}")

    def unmount(self, name: str) -> None:
        """Take away what was mounted under that name; nobody uses it any more."""
        self.run("umount", str(self._folder / name))

    @property
    def prefix(self) -> list[str]:
        """A command that runs another one inside."""
        return ["nsenter", "--mount", "--target", str(self._holder.pid), "--"]

    def run(self, *command: str) -> str:
        """Run a command inside; skips where the system has not what it asks for."""
        ended = subprocess.run(
            [*self.prefix, *command], check=False, capture_output=True, text=True, timeout=COMMAND_TIME_MAX_S
        )
        if ended.returncode:
            pytest.skip(f"{' '.join(command)} is not possible here: {ended.stderr.strip()}")
        return ended.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._holder.communicate()
