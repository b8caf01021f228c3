"""Building and measuring generations, each in a process of its own, from what the store holds to what serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mien_server.engine.generations import Generations
from mien_server.engine.sealing import caught_up
from mien_server.errors import MienError, NotFound
from mien_server.index import (
    BuildJob,
    BuildProcess,
    ExpectedGeneration,
    Generation,
    RebuildPolicy,
    load_generation,
    measured_again,
)
from mien_server.records.policies import IndexCode
from mien_server.storage import GalleryView, Store

__all__ = ["Builds", "expected_generation", "gallery_gone"]

FIRST_NICENESS = 5
"""A gallery without a generation compares with every row until it has one: the first does not wait for idle times."""

Watched = Callable[[BuildProcess], BuildProcess]
"""Follows a process to its end; raises Cancelled when it stops it before."""


def gallery_gone() -> NotFound:
    """What work for a gallery ends with when the gallery has gone."""
    return NotFound("the gallery was deleted meanwhile", reason="GALLERY_NOT_FOUND")


def expected_generation(store_id: str, gallery: GalleryView, revision: int) -> ExpectedGeneration:
    """What a generation of the gallery must be of."""
    return ExpectedGeneration(
        store_id=store_id,
        gallery_number=gallery.number,
        model_fingerprint=gallery.record.model_fingerprint,
        dimension=gallery.record.dimension,
        row_count=gallery.rows.row_count,
        revision=revision,
    )


class Builds:
    """Makes generations; belongs to the one thread that does.

    Args:
        policy_of: what a gallery wants.
        thread_count: cores that a process may use.
    """

    def __init__(
        self,
        store: Store,
        generations: Generations,
        policy_of: Callable[[GalleryView], RebuildPolicy],
        thread_count: int,
    ) -> None:
        self._store = store
        self._generations = generations
        self._policy_of = policy_of
        self._thread_count = thread_count

    def build(self, number: int, watched: Watched) -> Generation:
        """Build, load and publish a generation of the gallery as it is now.

        Raises:
            MienError: the build failed, was cancelled, or the gallery has gone.
        """
        directory = self._store.index_directory(number)
        with self._store.view(shows_expired=True) as view:
            gallery = view.gallery_by_number(number)
            if gallery is None:
                raise gallery_gone()
            job = self._job(gallery, view.revision)
            if number not in self._generations.served:
                job = replace(job, niceness=FIRST_NICENESS)
            policy = self._policy_of(gallery)
        name = watched(BuildProcess.start(directory, job)).result()
        with self._store.view() as view:
            gallery = view.gallery_by_number(number)
            if gallery is None:
                raise gallery_gone()
            expected = expected_generation(self._store.store_id, gallery, view.revision)
        # Takes long for a large index, and no view may be open so long. Deleted meanwhile, its folder may go.
        try:
            generation = load_generation(directory / name, expected)
        except MienError:
            self._generations.discard(number, name)
            raise
        generation = caught_up(self._store, self._generations, number, generation, policy)
        if not self._generations.publish(number, generation):
            raise gallery_gone()
        self._generations.prune(number)
        return generation

    def measure(self, number: int, watched: Watched) -> float | None:
        """Measure what the generation promises again, publish what was found, and give the drift.

        None too when the generation has gone meanwhile.

        Raises:
            MienError: it could not be measured, or was cancelled.
            OSError: the disk refuses.
        """
        directory = self._store.index_directory(number)
        with self._generations.holding(number) as generation:
            with self._store.view(shows_expired=True) as view:
                gallery = view.gallery_by_number(number)
                if gallery is None or generation is None:
                    return None
                job = replace(self._job(gallery, view.revision), measured=generation.name)
            measurement = watched(BuildProcess.start(directory, job)).measurement()
        # Segments may have followed meanwhile; the training that was measured is theirs as well.
        with self._generations.sealing, self._generations.holding(number) as serving:
            if serving is not None and serving.index.quantizer is generation.index.quantizer:
                made = measured_again(directory, serving, measurement)
                self._generations.publish(number, made, follows=serving)
        return measurement.drift

    def _job(self, gallery: GalleryView, revision: int) -> BuildJob:
        rows, record = gallery.rows, gallery.record
        return BuildJob(
            store_id=self._store.store_id,
            gallery_number=gallery.number,
            model_fingerprint=record.model_fingerprint,
            location=rows.location,
            row_count=rows.row_count,
            revision=revision,
            live=rows.live,
            identity_numbers=rows.identity_numbers,
            code=IndexCode(record.index_policy.code),
            default_recall_target=round(record.index_policy.default_recall_target, 6),
            threads=self._thread_count,
        )
