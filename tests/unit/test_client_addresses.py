"""Addresses of servers."""

from __future__ import annotations

import pytest

from mien_client._rpc.address import channel_target


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("127.0.0.1:7311", "127.0.0.1:7311"),
        ("faces.example", "faces.example:7311"),
        (" localhost:1 ", "localhost:1"),
        ("[::1]:80", "[::1]:80"),
        ("[::1]", "[::1]:7311"),
        ("::1", "[::1]:7311"),
        ("unix:/run/mien.sock", "unix:/run/mien.sock"),
        ("/run/mien.sock", "unix:/run/mien.sock"),
        ("dns:///faces.example:80", "dns:///faces.example:80"),
    ],
)
def test_an_address_names_a_channel(address: str, target: str) -> None:
    """A host with or without a port, an IPv6 address and a socket's path all name a channel."""
    assert channel_target(address) == target


@pytest.mark.parametrize(
    "address", ["", ":7311", "http://localhost:7311", "host:port", "host:0", "host:65536", "host:"]
)
def test_a_wrong_address_is_refused_before_any_call(address: str) -> None:
    """What cannot be an address is a ValueError that shows it."""
    with pytest.raises(ValueError, match="HOST:PORT"):
        channel_target(address)
