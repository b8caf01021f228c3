"""The generations that a store's folder has, for a snapshot to take along."""

from __future__ import annotations

import logging

from mien_server.index import GenerationRefused, current_generation, generation_files
from mien_server.storage import Store
from mien_server.storage.backup import GenerationFiles

__all__ = ["published_generations"]

log = logging.getLogger(__name__)


def published_generations(store: Store) -> dict[int, GenerationFiles]:
    """What each gallery would be served with, by its number; galleries without, or whose is damaged, are left out."""
    found = {}
    with store.view() as view:
        numbers = [gallery.number for gallery in view.galleries()]
    for number in numbers:
        directory = store.index_directory(number)
        try:
            name = current_generation(directory)
            if name is not None:
                found[number] = GenerationFiles(name, directory / name, generation_files(directory / name))
        except GenerationRefused as error:
            log.warning("%s", error)
    return found
