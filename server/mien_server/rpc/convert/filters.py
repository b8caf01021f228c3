"""Filters, efforts and the other choices of a search."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from mien.v1 import recognition_service_pb2, types_pb2
from mien_server.engine.types import Condition, ConditionSubject, Filter, SearchChoices
from mien_server.rpc.convert.values import enum_value, microseconds

__all__ = ["row_filter", "search_choices"]


def row_filter(message: types_pb2.Filter, field: str) -> Filter:
    """A filter.

    Raises:
        InvalidArgument: ENUM_UNKNOWN, FIELD_REQUIRED, TIME_INVALID.
    """
    conditions = message.conditions
    return Filter(
        identity_labels=dict(message.identity_labels),
        identity_ids=tuple(message.identity_ids),
        excluded_identity_ids=tuple(message.excluded_identity_ids),
        conditions=tuple(
            _condition(condition, f"{field}.conditions[{position}]") for position, condition in enumerate(conditions)
        ),
    )


def _condition(message: types_pb2.Condition, field: str) -> Condition:
    subject = enum_value(message.subject, ConditionSubject, None, f"{field}.subject")
    match message.WhichOneof("test"):
        case "one_of":
            return Condition(subject, message.key, one_of=tuple(message.one_of.values))
        case "number_range":
            numbers = message.number_range
            minimum = numbers.minimum if numbers.HasField("minimum") else None
            maximum = numbers.maximum if numbers.HasField("maximum") else None
            return Condition(subject, message.key, number_range=(minimum, maximum))
        case "time_range":
            start = _bound(message.time_range, "from", field)
            return Condition(subject, message.key, time_range_us=(start, _bound(message.time_range, "to", field)))
        case "exists":
            return Condition(subject, message.key, exists=message.exists)
        case _:
            return Condition(subject, message.key)


def _bound(time_range: types_pb2.TimeRange, name: str, field: str) -> int | None:
    """One end of a range; by name, for `from` is a word of Python's own."""
    if not time_range.HasField(name):
        return None
    time: Timestamp = getattr(time_range, name)
    return microseconds(time, f"{field}.time_range.{name}")


def search_choices(message: recognition_service_pb2.SearchOptions) -> SearchChoices:
    """The options of a search.

    Raises:
        InvalidArgument: ENUM_UNKNOWN, FIELD_REQUIRED, TIME_INVALID.
    """
    effort = message.effort
    chosen = effort.WhichOneof("effort")
    return SearchChoices(
        filter=row_filter(message.filter, "options.filter") if message.HasField("filter") else Filter(),
        recall_target=effort.recall_target if chosen == "recall_target" else None,
        step=effort.step if chosen == "step" else None,
        exact=chosen == "exact" and effort.exact,
        min_similarity=message.min_similarity if message.HasField("min_similarity") else None,
        min_revision=message.min_revision,
        explain=message.explain,
    )
