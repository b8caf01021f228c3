"""HTTP/2 by hand, for callers that no gRPC library lets a test be: half a message, no flow control, no reading."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Iterator

__all__ = ["RawConnection", "grpc_message"]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0x0, 0x1, 0x3, 0x4, 0x6, 0x7, 0x8
INITIAL_WINDOW_SIZE = 0x4
END_STREAM, ACKNOWLEDGED, END_HEADERS = 0x1, 0x1, 0x4
FRAME_BYTES_MAX = 16_384
TIMEOUT_S = 60.0


def grpc_message(body: bytes, byte_count: int | None = None) -> bytes:
    """A message as gRPC frames it, or one that claims another length."""
    return b"\0" + struct.pack(">I", len(body) if byte_count is None else byte_count) + body


def _initial_window(settings: bytes) -> int:
    return dict(struct.iter_unpack(">HI", settings)).get(INITIAL_WINDOW_SIZE, 65_535)


def _text(text: bytes) -> bytes:
    assert len(text) < 127
    return bytes([len(text)]) + text


def _header_block(method: str, metadata: dict[str, str]) -> bytes:
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": method,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
        **metadata,
    }
    return b"".join(b"\0" + _text(key.encode()) + _text(value.encode()) for key, value in headers.items())


class RawConnection:
    """A connection that sends what it is told to, and reads only when it is told to.

    Nothing is ever acknowledged, so that an answer stops after the 65,535 bytes that HTTP/2 grants unasked.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), TIMEOUT_S)
        self._socket.sendall(PREFACE + _frame(SETTINGS, 0, 0))
        self._next_stream = 1

    @property
    def peer(self) -> str:
        """This end, as gRPC names it."""
        host, port = self._socket.getsockname()
        return f"ipv4:{host}:{port}"

    def grant_nothing(self) -> None:
        """Take not one byte of the answers of calls that are begun from now on."""
        self._socket.sendall(_frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, 0)))

    def close(self) -> None:
        """Close the connection without a word."""
        self._socket.close()

    def begin(self, method: str, **metadata: str) -> int:
        """Begin a call of "/package.Service/Method"; answers its number."""
        number = self._next_stream
        self._next_stream += 2
        self._socket.sendall(_frame(HEADERS, END_HEADERS, number, _header_block(method, metadata)))
        return number

    def send(self, number: int, body: bytes, *, ends: bool = False) -> None:
        """Send bytes of a call's request, as many as flow control grants or not."""
        parts = [body[start : start + FRAME_BYTES_MAX] for start in range(0, len(body), FRAME_BYTES_MAX)] or [b""]
        frames = [_frame(DATA, 0, number, part) for part in parts]
        if ends:
            frames[-1] = _frame(DATA, END_STREAM, number, parts[-1])
        self._socket.sendall(b"".join(frames))

    def send_as_granted(self, numbers: list[int], body: bytes, seconds: float) -> dict[int, int]:
        """Send the body in each of the calls, as much of it as flow control grants within the time.

        Answers the bytes sent by call, for those that the server has not ended.
        """
        sent = dict.fromkeys(numbers, 0)
        granted: dict[int, int] = dict.fromkeys([0, *numbers], 65_535)
        ends_s = time.monotonic() + seconds
        while time.monotonic() < ends_s and sent and min(sent.values()) < len(body):
            for number, done in sent.items():
                part = body[done : done + min(granted[0], granted[number], FRAME_BYTES_MAX)]
                if part:
                    self._socket.sendall(_frame(DATA, 0, number, part))
                    sent[number] += len(part)
                    granted[0] -= len(part)
                    granted[number] -= len(part)
            while select.select([self._socket], [], [], 0.001)[0]:
                head = self._read(9)
                assert head is not None, "the server closed the connection"
                kind, number = head[3], int.from_bytes(head[5:9], "big")
                payload = self._read(int.from_bytes(head[:3], "big")) or b""
                if kind == WINDOW_UPDATE and number in granted:
                    granted[number] += int.from_bytes(payload, "big")
                elif kind in {HEADERS, RST_STREAM}:
                    sent.pop(number, None)
                elif kind in {SETTINGS, PING} and not head[4] & ACKNOWLEDGED:
                    self._socket.sendall(_frame(kind, ACKNOWLEDGED, 0, payload if kind == PING else b""))
                    more = _initial_window(payload) - 65_535 if kind == SETTINGS else 0
                    granted.update({one: granted[one] + more for one in sent})
        return sent

    def ping(self) -> None:
        """Ask whether the server is there; does nothing where it has closed the connection."""
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(_frame(PING, 0, 0, bytes(8)))

    def frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        """What the server sends: kind, flags, number of the call, payload. Ends with the connection."""
        with contextlib.suppress(OSError):
            while (head := self._read(9)) is not None:
                length = int.from_bytes(head[:3], "big")
                payload = self._read(length) if length else b""
                if payload is None:
                    return
                yield head[3], head[4], int.from_bytes(head[5:9], "big"), payload

    def wait_for_end(self, number: int) -> int:
        """Read until a call has ended; answers the kind of frame that ended it, GOAWAY for the connection's end."""
        for kind, flags, stream, _ in self.frames():
            if stream == number and (kind == RST_STREAM or (kind in {HEADERS, DATA} and flags & END_STREAM)):
                return kind
        return GOAWAY

    def _read(self, count: int) -> bytes | None:
        found = b""
        while len(found) < count:
            part = self._socket.recv(count - len(found))
            if not part:
                return None
            found += part
        return found


def _frame(kind: int, flags: int, number: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + number.to_bytes(4, "big") + payload
