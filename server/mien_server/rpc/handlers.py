"""From bytes on the wire to a method and back: parsing, deadlines, and errors as statuses, once for all methods.

Handlers get and give bytes, so that a message that cannot be parsed is answered with a reason like any other mistake,
and so that parsing and serialising happen on the thread that does the work.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message

from mien_server.errors import InvalidArgument, MienError
from mien_server.records.deadline import Deadline
from mien_server.rpc.errors import as_mien_error, code_of, retry_delay_s, status_of
from mien_server.rpc.gate import Call, Gate
from mien_server.rpc.streams import AnswersInOrder, StreamMethod, StreamWindow, begin_batches

__all__ = ["Method", "absent_handler", "end_with", "handlers_of_service", "stream_handler", "unary_handler"]

Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"
_NO_DEADLINE_BEYOND_S = 1e9
STATUS_DETAILS_KEY = "grpc-status-details-bin"
RETRY_PUSHBACK_KEY = "grpc-retry-pushback-ms"
"""gRPC's own word to its retries: after how long, or, negative, not at all."""
RETRIED_CODES = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the contract: its full name and the class of its requests."""

    full_name: str
    request_type: type[Message]

    def parse(self, body: bytes) -> Any:
        """The request in the bytes of a message.

        Raises:
            InvalidArgument: REQUEST_MALFORMED.
        """
        try:
            return self.request_type.FromString(body)
        except DecodeError as error:
            raise InvalidArgument(
                f"the {len(body)} bytes received are no {self.request_type.DESCRIPTOR.full_name}: a length or a tag in "
                "them is wrong, or text is not UTF-8; make the message with generated code",
                reason="REQUEST_MALFORMED",
            ) from error


def unary_handler(method: Method, function: Callable[[Any, Call], Message], gate: Gate) -> Handler:
    """A handler that calls `function` with the parsed request."""

    def handle(body: bytes, context: grpc.ServicerContext) -> bytes:
        start_s = time.monotonic()
        try:
            engine = gate.enter()
            try:
                call = Call(method.full_name, engine, _deadline(context), gate.is_draining, gate.waiting)
                answer = function(method.parse(body), call).SerializeToString()
            finally:
                gate.leave()
        except Exception as raised:  # noqa: BLE001 - whatever it was, the caller gets a status
            end_with(as_mien_error(raised, method.full_name), method.full_name, start_s, context)
        _log_end(method.full_name, "OK", "", start_s)
        return answer

    return grpc.unary_unary_rpc_method_handler(handle)


def stream_handler(method: Method, stream: StreamMethod, gate: Gate, window: StreamWindow) -> Handler:
    """A handler of a bidirectional stream whose answers come in the order of the requests."""

    def handle(bodies: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        start_s = time.monotonic()
        answers = AnswersInOrder(bodies, window)
        context.add_callback(answers.stop)
        try:
            engine = gate.enter_stream(answers.stop)
            try:
                call = Call(method.full_name, engine, _deadline(context), gate.is_draining, gate.waiting)
                yield from answers.run(begin_batches(stream, method.parse, call))
            finally:
                answers.stop()
                gate.leave_stream(answers.stop)
        except Exception as raised:  # noqa: BLE001 - whatever it was, the caller gets a status
            end_with(as_mien_error(raised, method.full_name), method.full_name, start_s, context)
        _log_end(method.full_name, "OK", "", start_s)

    return grpc.stream_stream_rpc_method_handler(handle)


def absent_handler(method: Method, refusal: MienError) -> Handler:
    """A handler that refuses every call."""

    def handle(_: bytes, context: grpc.ServicerContext) -> bytes:
        end_with(refusal, method.full_name, time.monotonic(), context)

    return grpc.unary_unary_rpc_method_handler(handle)


def handlers_of_service(full_name: str, handlers: Mapping[str, Handler]) -> grpc.GenericRpcHandler[bytes, bytes]:
    """The handlers of one service by the names of their methods."""
    return grpc.method_handlers_generic_handler(full_name, dict(handlers))


def _deadline(context: grpc.ServicerContext) -> Deadline:
    left_s = context.time_remaining()
    at_s = None if left_s > _NO_DEADLINE_BEYOND_S else time.monotonic() + left_s
    return Deadline(at_s, lambda: not context.is_active())


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
        trailers.append((RETRY_PUSHBACK_KEY, "-1" if delay_s is None else str(round(delay_s * 1000))))
    context.set_trailing_metadata(tuple(trailers))
    _log_end(method, code.name, error.reason, start_s)
    context.abort(code, status.message)
