"""What a system must do to be compared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from benchmarks.peers.task import Task

__all__ = ["Effort", "Found", "Named", "Peer", "padded"]

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard a search tries: a label for people, and what the peer makes of it."""

    label: str
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """The nearest rows that a system found for n probes, best first: both [n, k], -1 where there is none."""

    rows: Int64Array
    similarities: Float32Array


@dataclass(frozen=True, slots=True)
class Named:
    """Who is nearest to each of n probes: a person's number, how similar, and whether that is a match."""

    people: Int64Array
    similarities: Float32Array
    is_match: npt.NDArray[np.bool_]


class Peer(ABC):
    """One system: built once in a folder, opened there by another process, and asked.

    Everything runs on one core: the worker pins its process to one, and a peer sets its own library's threads to one.

    Attributes:
        title: as the table names it.
        distribution: the package whose version is reported.
        environment: variables that its process needs beside those that set every library's threads to one.
        how: the structure and what it was built with, for a reader who doubts it.
    """

    title: ClassVar[str]
    distribution: ClassVar[str]
    environment: ClassVar[Mapping[str, str]] = MappingProxyType({})
    how: str = ""

    def __init__(self, task: Task, folder: Path) -> None:
        self.task = task
        self.folder = folder

    @abstractmethod
    def load(self) -> None:
        """Store the faces, where that is a step of its own."""

    @abstractmethod
    def index(self) -> None:
        """Build what searches them and write it to the folder."""

    @abstractmethod
    def open(self) -> None:
        """Open what is in the folder."""

    @abstractmethod
    def efforts(self) -> Sequence[Effort]:
        """From the cheapest to the dearest; what the best agreement needs is among them."""

    def search_efforts(self) -> Sequence[Effort]:
        """The same for plain neighbours."""
        return self.efforts()

    def prepare(self, probes: Float32Array) -> Any:
        """Probes [n, d] as the system takes them; not timed."""
        return probes

    @abstractmethod
    def nearest(self, probes: Any, k: int, effort: Effort) -> Found:
        """The k nearest rows of prepared probes."""

    def identify(self, probes: Any, effort: Effort, threshold: float) -> Named:
        """Who the prepared probes are: the person of the nearest row, if it is near enough."""
        found = self.nearest(probes, 1, effort)
        best = found.similarities[:, 0]
        people = self.task.people[np.maximum(found.rows[:, 0], 0)].astype(np.int64)
        return Named(np.where(found.rows[:, 0] < 0, -1, people), best, best >= threshold)

    def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Let go of the folder."""


def padded(rows: Sequence[Sequence[int]], similarities: Sequence[Sequence[float]], k: int) -> Found:
    """Answers of different lengths as arrays."""
    found = Found(np.full((len(rows), k), -1, np.int64), np.full((len(rows), k), -np.inf, np.float32))
    for place, (numbers, scores) in enumerate(zip(rows, similarities, strict=True)):
        found.rows[place, : len(numbers)] = numbers
        found.similarities[place, : len(numbers)] = scores
    return found
