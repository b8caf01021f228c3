"""Large calls take turns; small ones pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from mien_server.errors import DeadlineExceeded, Overloaded
from mien_server.records.deadline import Deadline
from mien_server.rpc.clients import Client
from mien_server.rpc.turnstile import LARGE_ENTRIES_MIN, Turnstile

ANNA, BERT = Client("host", "anna"), Client("host", "bert")
LARGE = LARGE_ENTRIES_MIN
TIME_MAX_S = 60.0


def _until(holds: Callable[[], bool]) -> None:
    end_s = time.monotonic() + TIME_MAX_S
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.001)


def _begin(turnstile: Turnstile, client: Client, served: list[Client], errors: list[Exception]) -> threading.Thread:
    def run() -> None:
        try:
            with turnstile.entered(LARGE, client, Deadline()):
                served.append(client)
        except Overloaded as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_large_calls_take_turns_and_small_ones_pass() -> None:
    """While one large call runs the others wait, served client by client; a small one does not wait."""
    turnstile = Turnstile(1, 10)
    served: list[Client] = []
    threads = []
    with turnstile.entered(LARGE, ANNA, Deadline()):
        for position, client in enumerate((ANNA, ANNA, ANNA, BERT), start=1):
            threads.append(_begin(turnstile, client, served, []))
            _until(lambda position=position: len(turnstile._turns) == position)
        with turnstile.entered(LARGE - 1, BERT, Deadline()):
            assert served == []
    for thread in threads:
        thread.join(TIME_MAX_S)
    assert served == [ANNA, BERT, ANNA, ANNA]


def test_whoever_waits_with_the_most_is_refused() -> None:
    """Beyond what may wait the newest call of the client with the most is refused with a time to come back."""
    turnstile = Turnstile(1, 2)
    served: list[Client] = []
    errors: list[Exception] = []
    threads = []
    with turnstile.entered(LARGE, ANNA, Deadline()):
        for count in (1, 2):
            threads.append(_begin(turnstile, ANNA, served, errors))
            _until(lambda count=count: len(turnstile._turns) == count)
        threads.append(_begin(turnstile, BERT, served, errors))
        _until(lambda: len(errors) == 1)
    for thread in threads:
        thread.join(TIME_MAX_S)
    assert sorted(served) == [ANNA, BERT]
    (error,) = errors
    assert isinstance(error, Overloaded)
    assert error.reason == "TOO_MANY_LARGE_CALLS"


def test_who_stops_waiting_leaves_no_place_taken() -> None:
    """A call whose deadline passes while it waits takes no turn from those behind it."""
    turnstile = Turnstile(1, 10)
    served: list[Client] = []
    with turnstile.entered(LARGE, ANNA, Deadline()):
        with pytest.raises(DeadlineExceeded), turnstile.entered(LARGE, ANNA, Deadline.after(0.01)):
            pass
        thread = _begin(turnstile, BERT, served, [])
        _until(lambda: len(turnstile._turns) == 1)
    thread.join(TIME_MAX_S)
    assert served == [BERT]
    with turnstile.entered(LARGE, ANNA, Deadline.after(TIME_MAX_S)):
        served.append(ANNA)
    assert served == [BERT, ANNA]


def test_who_stops_waiting_makes_room() -> None:
    """Calls that were given up while they waited do not count among those that may wait."""
    turnstile = Turnstile(1, 1)
    served: list[Client] = []
    errors: list[Exception] = []
    with turnstile.entered(LARGE, ANNA, Deadline()):
        for client in (ANNA, BERT, ANNA):
            with pytest.raises(DeadlineExceeded), turnstile.entered(LARGE, client, Deadline.after(0.01)):
                pass
        thread = _begin(turnstile, BERT, served, errors)
        _until(lambda: len(turnstile._turns) == 1 or bool(errors))
    thread.join(TIME_MAX_S)
    assert (served, errors) == ([BERT], [])
