"""Who calls: what fairness counts by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["CLIENT_ID_KEY", "NOBODY", "Client", "client_of"]

CLIENT_ID_KEY = "mien-client-id"
"""Metadata key by which callers that share connections, behind a proxy say, tell themselves apart."""
CLIENT_ID_CHARACTERS_MAX = 128


class Client(NamedTuple):
    """A caller.

    Attributes:
        host: where its calls come from; "unix" for a socket. Names cannot be made up beyond it: hosts take turns first.
        name: who it is among those of the host: the id it gave, or else its connection.
    """

    host: str
    name: str


NOBODY = Client("", "")


def client_of(peer: str, metadata: Iterable[tuple[str, str | bytes]]) -> Client:
    """The caller behind a peer as gRPC names it ("ipv4:10.0.0.7:51234") and a call's metadata."""
    transport, _, address = peer.partition(":")
    host = address.rpartition(":")[0] if transport in {"ipv4", "ipv6"} else transport
    for key, value in metadata:
        if key == CLIENT_ID_KEY and value:
            return Client(host, f"id:{str(value)[:CLIENT_ID_CHARACTERS_MAX]}")
    return Client(host, peer)
