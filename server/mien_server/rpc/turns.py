"""What waits, and whose turn it is. Pure: no clock, no thread, no I/O.

Hosts take turns, and the clients of a host among themselves, one item each: whoever sends hundreds of calls is served
between the calls of the others, and whoever makes up hundreds of names is still one host.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from mien_server.rpc.clients import Client

__all__ = ["Turns"]

Item = TypeVar("Item")


class Turns(Generic[Item]):
    """Items of many clients in a fair order; those of one client in the order they came."""

    def __init__(self) -> None:
        # Dictionaries keep the order of their keys, which is the order of the turns: who was served goes to the end.
        self._hosts: dict[str, dict[Client, deque[Item]]] = {}
        self._count_by_host: dict[str, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def count(self, client: Client) -> int:
        """How many items of a client wait."""
        return len(self._hosts.get(client.host, {}).get(client, ()))

    def add(self, client: Client, item: Item) -> None:
        """Behind the client's other items."""
        self._hosts.setdefault(client.host, {}).setdefault(client, deque()).append(item)
        self._count_by_host[client.host] = self._count_by_host.get(client.host, 0) + 1
        self._count += 1

    def take(self, may_run: Callable[[Client], bool]) -> tuple[Client, Item] | None:
        """The item whose turn it is, of a client that may have it; None when there is none."""
        for host, clients in self._hosts.items():
            for client, items in clients.items():
                if may_run(client):
                    item = items.popleft()
                    self._count_one_less(host)
                    del clients[client]
                    if items:
                        clients[client] = items
                    del self._hosts[host]
                    if clients:
                        self._hosts[host] = clients
                    return client, item
        return None

    def remove(self, client: Client, item: Item) -> None:
        """Take back an item that waits; where it was the client's only one, the client has no turn any more."""
        self._hosts[client.host][client].remove(item)
        self._forget_if_empty(client)
        self._count_one_less(client.host)

    def drop_newest(self) -> tuple[Client, Item]:
        """Take back the newest item of whoever has the most, of the host that has the most; not of an empty one."""
        # Of equals the last: who came last, or was served last.
        host = max(reversed(self._hosts), key=self._count_by_host.__getitem__)
        clients = self._hosts[host]
        client = max(reversed(clients), key=lambda one: len(clients[one]))
        item = clients[client].pop()
        self._forget_if_empty(client)
        self._count_one_less(host)
        return client, item

    def _forget_if_empty(self, client: Client) -> None:
        clients = self._hosts[client.host]
        if not clients[client]:
            del clients[client]
        if not clients:
            del self._hosts[client.host]

    def _count_one_less(self, host: str) -> None:
        self._count -= 1
        self._count_by_host[host] -= 1
        if not self._count_by_host[host]:
            del self._count_by_host[host]
