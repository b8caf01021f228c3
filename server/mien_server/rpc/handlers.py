"""From bytes on the wire to a method and back: parsing, deadlines, and errors as statuses, once for all methods.

Handlers get and give bytes, so that a message that cannot be parsed is answered with a reason like any other mistake,
and so that parsing and serialising happen on the thread that does the work. A method with one request is handled as a
stream of requests, which on the wire is the same: so a call is refused before its message is read, and the wait for a
message that does not arrive can be ended.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message

from mien_server.engine import Engine
from mien_server.errors import Cancelled, InvalidArgument, LimitExceeded, MienError
from mien_server.records.caller import CALLER
from mien_server.records.deadline import Deadline
from mien_server.rpc.clients import Client, client_of
from mien_server.rpc.elements import ELEMENT_BYTES_MIN, element_count
from mien_server.rpc.errors import as_mien_error, code_of, retry_delay_s, status_of
from mien_server.rpc.gate import Call, Gate
from mien_server.rpc.lanes import current_seat, overflow
from mien_server.rpc.patience import Patience
from mien_server.rpc.streams import AnswersInOrder, StreamMethod, StreamPeer, StreamWindow, begin_batches
from mien_server.rpc.turnstile import Turnstile

__all__ = [
    "Admission",
    "Method",
    "absent_handler",
    "add_handlers",
    "arrived",
    "client_behind",
    "end_with",
    "refuse_overflow",
    "stream_handler",
    "unary_handler",
]

Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"
_NO_DEADLINE_BEYOND_S = 1e9
STATUS_DETAILS_KEY = "grpc-status-details-bin"
RETRY_PUSHBACK_KEY = "grpc-retry-pushback-ms"
"""gRPC's own word to its retries: after how long, or, negative, not at all."""
RETRY_SPREAD = 0.25
"""Callers refused together are told times that differ by up to so much, so that they do not come back together."""
ANSWER_BYTES_WATCHED_MIN = 16 * 1024
"""Smaller answers lie in buffers that every connection has."""
RETRIED_CODES = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the contract: its full name and the class of its requests."""

    full_name: str
    request_type: type[Message]

    def parse(self, body: bytes, elements_max: int) -> Any:
        """The request in the bytes of a message.

        Raises:
            InvalidArgument: REQUEST_MALFORMED.
            LimitExceeded: LIMIT_EXCEEDED, its lists have more than `elements_max` entries; nothing was parsed.
        """
        if len(body) > elements_max * ELEMENT_BYTES_MIN:
            self._check_elements(body, elements_max)
        try:
            return self.request_type.FromString(body)
        except DecodeError as error:
            raise InvalidArgument(
                f"the {len(body)} bytes received are no {self.request_type.DESCRIPTOR.full_name}: a length or a tag in "
                "them is wrong, or text is not UTF-8; make the message with generated code",
                reason="REQUEST_MALFORMED",
            ) from error

    def _check_elements(self, body: bytes, elements_max: int) -> None:
        if element_count(body, self.request_type.DESCRIPTOR, elements_max) > elements_max:
            raise LimitExceeded(
                f"the message's lists have more than message_elements_max = {elements_max} entries together; send less "
                "in one call",
                metadata={"limit": "message_elements_max", "maximum": str(elements_max)},
            )


@dataclass(frozen=True, slots=True)
class Admission:
    """What every call passes: whether it may run, what its caller may hold, and how large calls take turns."""

    gate: Gate
    patience: Patience
    turnstile: Turnstile

    def call(self, method: str, engine: Engine, client: Client, context: grpc.ServicerContext) -> Call:
        """What the method gets beside its request."""
        deadline = _deadline(context)
        return Call(
            method=method,
            engine=engine,
            deadline=deadline,
            is_draining=self.gate.is_draining,
            waiting=partial(self.gate.waiting, client),
            large=partial(self.turnstile.entered, client=client, deadline=deadline),
        )


def unary_handler(method: Method, function: Callable[[Any, Call], Message], admission: Admission) -> Handler:
    """A handler that calls `function` with the parsed request."""
    gate, patience = admission.gate, admission.patience

    def handle(bodies: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        start_s = time.monotonic()
        try:
            client = client_behind(context)
            CALLER.set(client.name)
            refuse_overflow(context)
            gate.require_open()
            patience.require_room(client)
            body = arrived(bodies, client, context, patience)
            # A call whose message has not come is none that an end has to wait for.
            engine = gate.enter()
            byte_count = max(1, len(body))
            patience.hold(client, byte_count)
            try:
                call = admission.call(method.full_name, engine, client, context)
                request = method.parse(body, engine.limits.message_elements_max)
                # The request has copies of all that counts.
                del body
                answer = function(request, call).SerializeToString()
            finally:
                patience.release(client, byte_count)
                gate.leave()
        except Exception as raised:  # noqa: BLE001 - whatever it was, the caller gets a status
            end_with(as_mien_error(raised, method.full_name), method.full_name, start_s, context)
        _log_end(method.full_name, "OK", "", start_s)
        if len(answer) > ANSWER_BYTES_WATCHED_MIN:
            _watch_answer(client, len(answer), context, patience)
        return answer

    return grpc.stream_unary_rpc_method_handler(handle)


def arrived(bodies: Iterator[bytes], client: Client, context: grpc.ServicerContext, patience: Patience) -> bytes:
    """The one message of a call.

    Raises:
        Cancelled: the caller went away, or took too long.
        InvalidArgument: REQUEST_MALFORMED, there is none.
    """
    try:
        with patience.arriving(client, context.cancel):
            body = next(bodies, None)
    except grpc.RpcError as error:
        raise Cancelled("the caller went away, or its message did not arrive in time") from error
    if body is None:
        raise InvalidArgument("the call has no message; send one", reason="REQUEST_MALFORMED")
    return body


def _watch_answer(client: Client, byte_count: int, context: grpc.ServicerContext, patience: Patience) -> None:
    gone = patience.answering(client, byte_count, context.cancel)
    if not context.add_callback(gone):
        gone()


def refuse_overflow(context: grpc.ServicerContext) -> None:
    """Refuse a call for which the lanes had no place, and let one be whose caller has gone while it waited."""
    error = overflow()
    if error is not None:
        raise error
    if not context.is_active():
        raise Cancelled("the caller went away")


def client_behind(context: grpc.ServicerContext) -> Client:
    """Who calls."""
    return client_of(context.peer(), context.invocation_metadata())


def stream_handler(method: Method, stream: StreamMethod, admission: Admission, window: StreamWindow) -> Handler:
    """A handler of a bidirectional stream whose answers come in the order of the requests."""
    gate, patience = admission.gate, admission.patience

    def handle(bodies: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        start_s = time.monotonic()
        client = client_behind(context)
        CALLER.set(client.name)
        answers = AnswersInOrder(bodies, window, StreamPeer(client, context.cancel, patience))
        context.add_callback(answers.stop)
        try:
            refuse_overflow(context)
            engine = gate.enter_stream(answers, client)
            try:
                call = admission.call(method.full_name, engine, client, context)
                seat = current_seat()
                if seat is not None:
                    # Its places are counted by the gate, and each request's work by the engine.
                    seat.end_reading()
                    seat.park()
                parse = partial(method.parse, elements_max=engine.limits.message_elements_max)
                yield from answers.run(begin_batches(stream, parse, call))
            finally:
                answers.stop()
                gate.leave_stream(answers)
        except Exception as raised:  # noqa: BLE001 - whatever it was, the caller gets a status
            end_with(as_mien_error(raised, method.full_name), method.full_name, start_s, context)
        _log_end(method.full_name, "OK", "", start_s)

    return grpc.stream_stream_rpc_method_handler(handle)


def absent_handler(method: Method, refusal: MienError) -> Handler:
    """A handler that refuses every call, unread."""

    def handle(_: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        end_with(refusal, method.full_name, time.monotonic(), context)

    return grpc.stream_unary_rpc_method_handler(handle)


def add_handlers(server: grpc.Server, service_name: str, handlers: Mapping[str, Handler]) -> None:
    """Serve a service; before the server is started.

    Each method is registered by its name. gRPC takes in the calls of a method one after another, whoever they are of,
    and so no method, health least of all, has to wait for the flood of another.
    """
    registering: Any = server
    registering.add_registered_method_handlers(service_name, dict(handlers))


def _deadline(context: grpc.ServicerContext) -> Deadline:
    left_s = context.time_remaining()
    at_s = None if left_s > _NO_DEADLINE_BEYOND_S else time.monotonic() + left_s
    return Deadline(at_s, lambda: not context.is_active())


def _pushback_ms(delay_s: float) -> str:
    spread = 1.0 + RETRY_SPREAD * random.random()  # noqa: S311 - nothing secret
    return str(round(delay_s * spread * 1000))


def _log_end(method: str, code: str, reason: str, start_s: float) -> None:
    if _log.isEnabledFor(logging.DEBUG):
        milliseconds = round((time.monotonic() - start_s) * 1000, 3)
        facts = {"method": method, "code": code, "reason": reason, "milliseconds": milliseconds}
        _log.debug("call", extra=facts)


def end_with(error: MienError, method: str, start_s: float, context: grpc.ServicerContext) -> NoReturn:
    """End a call with an error's code, message and details."""
    code, status, delay_s = code_of(error), status_of(error), retry_delay_s(error)
    trailers: list[tuple[str, str | bytes]] = [(STATUS_DETAILS_KEY, status.SerializeToString())]
    if code in RETRIED_CODES:
        trailers.append((RETRY_PUSHBACK_KEY, "-1" if delay_s is None else _pushback_ms(delay_s)))
    context.set_trailing_metadata(tuple(trailers))
    _log_end(method, code.name, error.reason, start_s)
    context.abort(code, status.message)
