"""Going on with the deletion that an erasure begins with, a bounded number of faces at a time."""

from __future__ import annotations

from collections.abc import Callable

from mien_server.errors import NotFound
from mien_server.storage.commands.erase_faces import EraseFaces
from mien_server.storage.outcomes import Committed
from mien_server.storage.store import Store

__all__ = ["delete_rest"]


def delete_rest(
    store: Store, gallery: str, identity_id: str, erasure: str, check: Callable[[], None] = lambda: None
) -> int | None:
    """Delete what is left of an identity; answers with the revision that has nothing of it.

    None: the gallery was deleted meanwhile, and they with it.

    Args:
        check: called between commits; what it raises ends the work.
    """
    while True:
        check()
        try:
            written = store.write(EraseFaces(gallery, identity_id, erasure), is_internal=True)
        except NotFound:
            return None
        assert isinstance(written, Committed)
        if written.result:
            return written.revision
