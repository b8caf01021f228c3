"""What is asked of a worker for one photograph, and the photographs it takes together."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Batch", "WorkKind"]


@dataclass(frozen=True, slots=True)
class WorkKind:
    """What to do; only photographs of one kind share a batch.

    Attributes:
        fingerprint: what the recipe must still be when the worker loads it.
    """

    recipe: str
    fingerprint: str
    embed: bool
    sixty_eight_landmarks: bool
    aligned_png: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """Photographs, as file contents, for one worker."""

    kind: WorkKind
    contents: tuple[bytes, ...]
