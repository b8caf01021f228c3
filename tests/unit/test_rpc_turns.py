"""Whose turn it is among calls that wait."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien_server.rpc.clients import Client, client_of
from mien_server.rpc.turns import Turns

ANNA, BERT, CARL = Client("h1", "anna"), Client("h1", "bert"), Client("h2", "carl")
CLIENTS = st.sampled_from([Client(host, name) for host in ("h1", "h2", "h3") for name in ("a", "b", "c")])


def _everybody(_: Client) -> bool:
    return True


def _taken(turns: Turns[int]) -> list[Client]:
    return [taken[0] for _ in range(len(turns)) if (taken := turns.take(_everybody)) is not None]


def test_clients_take_turns() -> None:
    """Who has hundreds waiting is served once between two of another's."""
    turns: Turns[int] = Turns()
    for number in range(300):
        turns.add(ANNA, number)
    for number in range(3):
        turns.add(BERT, number)
    assert _taken(turns)[:7] == [ANNA, BERT, ANNA, BERT, ANNA, BERT, ANNA]


def test_hosts_take_turns_before_their_clients() -> None:
    """A host with a hundred names gets no more turns than one with a single name."""
    turns: Turns[int] = Turns()
    for number in range(100):
        turns.add(Client("h1", f"name-{number}"), number)
    for number in range(4):
        turns.add(CARL, number)
    assert [client.host for client in _taken(turns)[:8]] == ["h1", "h2"] * 4


def test_who_may_not_run_is_passed_over_and_keeps_its_turn() -> None:
    """A client that has all it may have waits, and is first when it may again."""
    turns: Turns[int] = Turns()
    turns.add(ANNA, 1)
    turns.add(BERT, 2)
    assert turns.take(lambda client: client != ANNA) == (BERT, 2)
    assert turns.take(lambda client: client != ANNA) is None
    assert turns.take(_everybody) == (ANNA, 1)


def test_the_newest_of_whoever_has_the_most_is_dropped() -> None:
    """Where there is no room a newcomer displaces the newest call of the client with the most, never its own first."""
    turns: Turns[int] = Turns()
    for number in range(5):
        turns.add(ANNA, number)
    turns.add(BERT, 100)
    assert turns.drop_newest() == (ANNA, 4)
    assert turns.drop_newest() == (ANNA, 3)


@given(st.lists(CLIENTS, max_size=60), st.integers(0, 30))
def test_every_item_comes_once_and_in_the_order_of_its_client(added: list[Client], drop_count: int) -> None:
    """Whatever was added and not dropped is taken once; between two turns of a waiting client nobody has two."""
    turns: Turns[int] = Turns()
    waiting: Counter[Client] = Counter()
    for number, client in enumerate(added):
        turns.add(client, number)
        waiting[client] += 1
    for _ in range(min(drop_count, len(added))):
        client, number = turns.drop_newest()
        of_host = Counter(
            {host: sum(n for one, n in waiting.items() if one.host == host) for host in ("h1", "h2", "h3")}
        )
        assert of_host[client.host] == max(of_host.values())
        assert waiting[client] == max(count for one, count in waiting.items() if one.host == client.host)
        waiting[client] -= 1
        assert turns.count(client) == waiting[client]
    last: dict[Client, int] = {}
    hosts_left = Counter(client.host for client in waiting.elements())
    previous = ""
    while (taken := turns.take(_everybody)) is not None:
        client, number = taken
        assert number > last.get(client, -1)
        last[client] = number
        assert client.host != previous or len(+hosts_left) == 1
        previous = client.host
        waiting[client] -= 1
        hosts_left[client.host] -= 1
    assert not +waiting
    assert len(turns) == 0


@pytest.mark.parametrize(
    ("peer", "metadata", "expected"),
    [
        ("ipv4:10.0.0.7:51234", [], Client("10.0.0.7", "ipv4:10.0.0.7:51234")),
        ("ipv6:%5B::1%5D:51234", [], Client("%5B::1%5D", "ipv6:%5B::1%5D:51234")),
        ("unix:", [], Client("unix", "unix:")),
        ("ipv4:10.0.0.7:51234", [("mien-client-id", "door-3")], Client("10.0.0.7", "id:door-3")),
        ("ipv4:10.0.0.7:51234", [("mien-client-id", "")], Client("10.0.0.7", "ipv4:10.0.0.7:51234")),
        ("ipv4:10.0.0.7:51234", [("mien-client-id", "x" * 500)], Client("10.0.0.7", "id:" + "x" * 128)),
    ],
)
def test_a_client_is_its_host_and_its_name(peer: str, metadata: list[tuple[str, str]], expected: Client) -> None:
    """A caller is told by its host and, among those of a host, by its id or its connection."""
    assert client_of(peer, metadata) == expected
