"""The embedding service: photographs in, faces with embeddings out, computed by worker processes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final, Self

from mien_server.embedding.catalogue import RECIPE_NAMES, describe_recipe
from mien_server.embedding.facenet_weights import fetch_weights, locate_weights
from mien_server.embedding.options import EmbeddingOptions
from mien_server.embedding.pool import WorkerPool
from mien_server.embedding.recipes import FACENET_RECIPE, RecipeDescription
from mien_server.embedding.refusal import DecodeRefused, check_bytes, refused_analysis
from mien_server.embedding.work import WorkKind
from mien_server.errors import Unavailable
from mien_server.records.deadline import Deadline
from mien_server.records.faces import ImageAnalysis

__all__ = ["EmbeddingService"]

NO_DEADLINE: Final = Deadline()


class EmbeddingService:
    """Finds, describes and embeds faces. Safe from any thread; loads no foreign library into this process.

    Workers are started by `start` or by the first photograph, and ended by `close`; they also end by themselves when
    this process does.
    """

    def __init__(self, options: EmbeddingOptions) -> None:
        self._options = options
        self._pool = WorkerPool(options)
        self._lock = threading.Lock()
        self._fetching = threading.Lock()
        self._available: dict[str, RecipeDescription] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @property
    def options(self) -> EmbeddingOptions:
        """What the service was made with."""
        return self._options

    def start(self) -> None:
        """Start the workers in the background, so that the first photograph need not wait for them."""
        self._pool.start()

    def close(self) -> None:
        """Refuse photographs that wait, finish those begun, end the workers. Nothing is left running."""
        self._pool.close()

    def worker_pids(self) -> list[int]:
        """Process ids of the workers that run now."""
        return self._pool.pids()

    def recipes(self) -> list[RecipeDescription]:
        """Every recipe that ships, available or not."""
        return [self.recipe(name) for name in RECIPE_NAMES]

    def recipe(self, name: str) -> RecipeDescription:
        """One recipe. An unavailable one is looked at again each time; an available one stays as it is.

        Raises:
            NotFound: RECIPE_NOT_FOUND.
        """
        with self._lock:
            description = self._available.get(name) or describe_recipe(name, self._options)
            if description.available:
                self._available[name] = description
            return description

    def analyse(
        self,
        images: Sequence[bytes],
        recipe: str,
        *,
        embed: bool,
        sixty_eight_landmarks: bool = False,
        aligned_png: bool = False,
        deadline: Deadline = NO_DEADLINE,
    ) -> list[ImageAnalysis]:
        """What each photograph holds, in order. A photograph that cannot be used has a status and fails no other.

        Args:
            images: contents of image files, whatever they are.
            recipe: name of the recipe.
            embed: compute embeddings too; otherwise faces are only found and measured.
            sixty_eight_landmarks: see the recipe's notices before asking for them.
            aligned_png: add the chip that the network is given.
            deadline: photographs not begun when it passes, or when the caller goes away, are dropped.

        Raises:
            NotFound: RECIPE_NOT_FOUND.
            Unavailable: RECIPE_UNAVAILABLE with what to do; SHUTTING_DOWN; WORKER_START_FAILED.
            Overloaded: EMBEDDING_QUEUE_FULL, with when to come back.
            LimitExceeded: EMBEDDING_QUEUE_TOO_SMALL: more than the queue can ever hold.
            Cancelled, DeadlineExceeded: as the deadline says.
        """
        kind = WorkKind(
            recipe=recipe,
            fingerprint=self._ready_fingerprint(recipe),
            embed=embed,
            sixty_eight_landmarks=sixty_eight_landmarks,
            aligned_png=aligned_png,
        )
        answers: dict[int, ImageAnalysis] = {}
        for position, content in enumerate(images):
            try:
                check_bytes(content, self._options.limits)
            except DecodeRefused as refusal:
                answers[position] = refused_analysis(content, refusal)
        wanted = [position for position in range(len(images)) if position not in answers]
        analyses = self._pool.run([images[position] for position in wanted], kind, deadline)
        answers.update(zip(wanted, analyses, strict=True))
        return [answers[position] for position in range(len(images))]

    def _ready_fingerprint(self, name: str) -> str:
        """The fingerprint of a recipe whose files are all here, fetched now where that is allowed."""
        description = self.recipe(name)
        if not description.available:
            raise Unavailable(description.unavailable_reason, reason="RECIPE_UNAVAILABLE")
        if name == FACENET_RECIPE:
            with self._fetching:
                weights = locate_weights(self._options)
                if not weights.present:
                    fetch_weights(weights)
        return description.fingerprint
