"""Messages of which half has come hold little memory, however many they are, and keep nobody else from being served."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from mien_client import Client, ClientOptions
from mien_server.rpc.lanes import READING_MAX
from mien_server.rpc.patience import PatienceLimits
from tests.raw_http2 import RawConnection, grpc_message
from tests.server_processes import ServerProcess

GET = "/mien.v1.GalleryService/GetGallery"
PAGE_BYTES = 4096
MIB = 2**20
CONNECTION_COUNT = 3
CALLS_OF_EACH = 30
HALF_BYTES = 15 * MIB
CLAIMED_BYTES = 60 * MIB
REQUEST_BYTES_MAX = 256 * MIB
SENDING_S = 6.0
MESSAGES_HELD_MAX = READING_MAX + PatienceLimits(request_bytes_max=REQUEST_BYTES_MAX).slow_messages_max
OTHER_MIB_MAX = 96.0
"""What buffers, threads and the answers of others take."""


def _resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES / MIB


def test_messages_that_stop_halfway_hold_bounded_memory(store_path: Path) -> None:
    """Ninety messages of 60 MiB, of each of which 15 are offered and no more, take what the few take that are read."""
    server = ServerProcess(store_path, f"server.request_bytes_max={REQUEST_BYTES_MAX}")
    try:
        with Client(server.address, ClientOptions(attempts_max=1)) as client:
            client.create_gallery("staff", precomputed="test", dimension=8)
            before_mib = _resident_mib(server.pid)
            senders = [threading.Thread(target=_send_halves, args=(server.address,)) for _ in range(CONNECTION_COUNT)]
            for sender in senders:
                sender.start()
            largest_mib, answered = before_mib, 0
            while any(sender.is_alive() for sender in senders):
                assert client.get_gallery("staff").name == "staff"
                answered += 1
                largest_mib = max(largest_mib, _resident_mib(server.pid))
                time.sleep(0.01)
            for sender in senders:
                sender.join()
    finally:
        server.kill()
    print(f"resident memory grew by {largest_mib - before_mib:.0f} MiB; {answered} calls were answered meanwhile")
    assert largest_mib - before_mib < MESSAGES_HELD_MAX * HALF_BYTES / MIB + OTHER_MIB_MAX
    assert answered > SENDING_S


def _send_halves(address: str) -> None:
    connection = RawConnection(address)
    numbers = [connection.begin(GET) for _ in range(CALLS_OF_EACH)]
    head = grpc_message(b"", CLAIMED_BYTES)
    connection.send_as_granted(numbers, head + bytes(HALF_BYTES - len(head)), SENDING_S)
    connection.close()
