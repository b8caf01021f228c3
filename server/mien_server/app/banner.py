"""What a server says of itself when it starts: where it listens, what it can do, what it holds."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import structlog

from mien_server.config.settings import Settings
from mien_server.engine.types import GalleryInfo, IndexStateKind, RecipeInfo, ServerInfo

__all__ = ["ready_line", "show_banner"]

LOOPBACK_PREFIXES = ("127.", "localhost:", "[::1]:", "unix:")
GALLERIES_SHOWN_MAX = 20

_log = structlog.stdlib.get_logger(__name__)


def ready_line(addresses: Sequence[str], data: Path, gallery_count: int) -> str:
    """The one line on standard output that says the server answers."""
    galleries = "1 gallery" if gallery_count == 1 else f"{gallery_count} galleries"
    return f"mien-server ready on {', '.join(addresses)} (store {data}, {galleries})"


def show_banner(settings: Settings, addresses: Sequence[str], data: Path, info: ServerInfo) -> None:
    """Say it on standard error, as lines for people or as one log entry each for machines."""
    if settings.log.format == "json":
        _log_banner(addresses, data, info)
    else:
        sys.stderr.write("\n".join(_banner_lines(addresses, data, info)) + "\n")
        sys.stderr.flush()
    exposed = [address for address in addresses if not address.startswith(LOOPBACK_PREFIXES)]
    if exposed and settings.tls.certificate_path is None:
        _log.warning(
            "reachable from other machines without TLS: faces and names travel readable, and anyone may call; "
            "set tls.certificate_path, tls.key_path and tls.client_ca_path, or listen on 127.0.0.1",
            addresses=exposed,
        )


def _banner_lines(addresses: Sequence[str], data: Path, info: ServerInfo) -> Iterable[str]:
    yield f"mien-server {info.version}"
    yield f"  store      {data} (id {info.store_id}, revision {info.revision})"
    for position, address in enumerate(addresses):
        yield f"  {'listens' if position == 0 else '':<10} {address}"
    for position, recipe in enumerate(info.recipes):
        yield f"  {'recipes' if position == 0 else '':<10} {_recipe_line(recipe, info.default_recipe)}"
    if not info.galleries:
        yield "  galleries  none yet; make one with: mien gallery create NAME"
    for position, gallery in enumerate(info.galleries[:GALLERIES_SHOWN_MAX]):
        yield f"  {'galleries' if position == 0 else '':<10} {_gallery_line(gallery)}"
    if len(info.galleries) > GALLERIES_SHOWN_MAX:
        yield f"  {'':<10} and {len(info.galleries) - GALLERIES_SHOWN_MAX} more"


def _recipe_line(recipe: RecipeInfo, default: str) -> str:
    kind = f"{recipe.name}{' (default)' if recipe.name == default else ''}: {recipe.dimension}-d"
    if recipe.available:
        return f"{kind}, {recipe.detector} and {recipe.embedder}"
    return f"{kind}, not available: {recipe.unavailable_reason}"


def _gallery_line(gallery: GalleryInfo) -> str:
    state = gallery.index_state
    words = state.kind.name.lower()
    detail = f" ({state.detail})" if state.detail and state.kind is IndexStateKind.DEGRADED else ""
    return (
        f"{gallery.name}: {gallery.identity_count} identities, {gallery.face_count} faces, "
        f"{gallery.recipe or gallery.precomputed_name} {gallery.dimension}-d, index {words}{detail}"
    )


def _log_banner(addresses: Sequence[str], data: Path, info: ServerInfo) -> None:
    _log.info(
        "started",
        version=info.version,
        store=str(data),
        store_id=info.store_id,
        revision=info.revision,
        addresses=list(addresses),
    )
    for recipe in info.recipes:
        _log.info(
            "recipe",
            recipe=recipe.name,
            dimension=recipe.dimension,
            available=recipe.available,
            unavailable_reason=recipe.unavailable_reason,
        )
    for gallery in info.galleries:
        _log.info(
            "gallery",
            gallery=gallery.name,
            identity_count=gallery.identity_count,
            face_count=gallery.face_count,
            dimension=gallery.dimension,
            index_state=gallery.index_state.kind.name,
            index_detail=gallery.index_state.detail,
        )
