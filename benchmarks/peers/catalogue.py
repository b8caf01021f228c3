"""Which systems there are, by the name that a command line gives them."""

from __future__ import annotations

import importlib
from typing import Final

from benchmarks.peers.peer import Peer

__all__ = ["PEERS", "peer_class"]

PEERS: Final[dict[str, str]] = {
    "mien": "mien_peer.MienPeer",
    "faiss-lists": "faiss_peer.FaissListsPeer",
    "faiss-graph": "faiss_peer.FaissGraphPeer",
    "scann": "scann_peer.ScannPeer",
    "qdrant": "qdrant_peer.QdrantPeer",
    "hnswlib": "hnswlib_peer.HnswlibPeer",
    "lancedb": "lancedb_peer.LancePeer",
    "chromadb": "chromadb_peer.ChromaPeer",
}


def peer_class(name: str) -> type[Peer]:
    """The class of a system; only now is its module imported."""
    module, _, class_name = PEERS[name].partition(".")
    found: type[Peer] = getattr(importlib.import_module(f"benchmarks.peers.{module}"), class_name)
    return found
