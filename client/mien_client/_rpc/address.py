"""Addresses of servers."""

from __future__ import annotations

__all__ = ["DEFAULT_PORT", "channel_target"]

DEFAULT_PORT = 7311


def channel_target(address: str) -> str:
    """gRPC's name for an address.

    Args:
        address: `host:port`, `host` (port 7311), `[::1]:port` or `unix:/path/of/socket`.

    Raises:
        ValueError: the address is empty, names a URL scheme other than unix or dns, or has no valid port.
    """
    text = address.strip()
    if text.startswith(("unix:", "unix-abstract:", "dns:", "ipv4:", "ipv6:")):
        return text
    if "://" in text:
        raise ValueError(f"{address!r} is a URL; a server's address is HOST:PORT or unix:/PATH, without a scheme")
    if text.startswith("/"):
        return f"unix:{text}"
    host, port = _split(text)
    if not host:
        raise ValueError(f"{address!r} names no host; write HOST:PORT, such as 127.0.0.1:{DEFAULT_PORT}, or unix:/PATH")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise ValueError(f"{address!r} has no port between 1 and 65535; write HOST:PORT or unix:/PATH")
    return f"{host}:{port}"


def _split(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, _, rest = text.partition("]")
        return (host + "]", rest.removeprefix(":") or str(DEFAULT_PORT))
    if text.count(":") > 1:
        return (f"[{text}]", str(DEFAULT_PORT))
    host, colon, port = text.partition(":")
    return (host, port if colon else str(DEFAULT_PORT))
