"""Checks of what a caller names: ids, labels, counts. Pure; every refusal names the field and the limit."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping

from mien_server.config.limits import Limits
from mien_server.engine.types import Condition, ConditionSubject, Filter
from mien_server.errors import InvalidArgument, LimitExceeded
from mien_server.records.policies import DecisionPolicy, EnrollmentPolicy, IndexPolicy

__all__ = [
    "check_count",
    "check_decision_policy",
    "check_enrollment_policy",
    "check_expire_time",
    "check_face_id",
    "check_filter",
    "check_gallery_name",
    "check_identity_id",
    "check_ids",
    "check_index_policy",
    "check_labels",
    "check_text",
    "check_time_to_live",
]

_GALLERY_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_LABEL_KEY = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
TIME_TO_LIVE_MIN_US = 1_000_000
TIME_TO_LIVE_MAX_US = 36_500 * 86_400 * 1_000_000
"""A hundred years: what is to be kept longer is to be kept for ever."""
EXPIRE_TIME_MAX_US = 253_402_300_800 * 1_000_000 - 1
"""The end of the year 9999, the last that a Timestamp can hold."""

_LABEL_SUBJECTS = {ConditionSubject.IDENTITY_LABEL, ConditionSubject.FACE_LABEL}


def check_gallery_name(name: str, field: str) -> None:
    """Refuse a name that no gallery can have.

    Raises:
        InvalidArgument: GALLERY_NAME_INVALID.
    """
    if not _GALLERY_NAME.fullmatch(name):
        raise InvalidArgument(
            f"gallery name {name[:80]!r} is not allowed: "
            "1 to 63 of a-z, 0-9, '_' and '-', starting with a letter or digit",
            field=field,
            reason="GALLERY_NAME_INVALID",
        )


def check_count(count: int, maximum: int, limit_name: str, field: str, minimum: int = 0) -> None:
    """Refuse a count beyond a limit.

    Raises:
        LimitExceeded: LIMIT_EXCEEDED, with the limit's name and value in the metadata.
        InvalidArgument: TOO_FEW, below `minimum`.
    """
    if count > maximum:
        raise LimitExceeded(
            f"{field}: {count} is more than {limit_name} = {maximum}; send less in one call",
            field=field,
            metadata={"limit": limit_name, "maximum": str(maximum), "given": str(count)},
        )
    if count < minimum:
        raise InvalidArgument(f"{field}: at least {minimum} expected, {count} given", field=field, reason="TOO_FEW")


def check_text(text: str, bytes_max: int, limit_name: str, field: str) -> None:
    """Refuse text beyond a limit of UTF-8 bytes.

    Raises:
        LimitExceeded: LIMIT_EXCEEDED.
    """
    if len(text) > bytes_max or (not text.isascii() and len(text.encode()) > bytes_max):
        raise LimitExceeded(
            f"{field}: {len(text.encode())} bytes are more than {limit_name} = {bytes_max}",
            field=field,
            metadata={"limit": limit_name, "maximum": str(bytes_max)},
        )


def _has_control_character(text: str) -> bool:
    if text.isascii():
        return not text.isprintable()
    return any(unicodedata.category(character) in {"Cc", "Cs"} for character in text)


def check_identity_id(identity_id: str, limits: Limits, field: str) -> None:
    """Refuse an id that no identity can have.

    Raises:
        InvalidArgument: IDENTITY_ID_INVALID.
        LimitExceeded: LIMIT_EXCEEDED.
    """
    _check_id(identity_id, limits.identity_id_bytes_max, "identity_id_bytes_max", field, "IDENTITY_ID_INVALID")


def check_face_id(face_id: str, limits: Limits, field: str) -> None:
    """Refuse an id that no face can have.

    Raises:
        InvalidArgument: FACE_ID_INVALID.
        LimitExceeded: LIMIT_EXCEEDED.
    """
    _check_id(face_id, limits.face_id_bytes_max, "face_id_bytes_max", field, "FACE_ID_INVALID")


def _check_id(text: str, bytes_max: int, limit_name: str, field: str, reason: str) -> None:
    if not text:
        raise InvalidArgument(f"{field} is empty; name one", field=field, reason=reason)
    check_text(text, bytes_max, limit_name, field)
    if _has_control_character(text):
        raise InvalidArgument(f"{field}: {text!r} holds control characters", field=field, reason=reason)


def check_expire_time(expire_time_us: int, now_us: int, field: str) -> None:
    """Refuse a time that nothing can expire at; 0, never, is allowed.

    Raises:
        InvalidArgument: EXPIRE_TIME_PAST; TIME_INVALID, before 1970 or after the year 9999.
    """
    if not 0 <= expire_time_us <= EXPIRE_TIME_MAX_US:
        raise InvalidArgument(
            f"{field}: {expire_time_us} us are no time from 1970 to 9999", field=field, reason="TIME_INVALID"
        )
    if 0 < expire_time_us <= now_us:
        raise InvalidArgument(
            f"{field} has passed already; give a later one, or leave out what is not to be kept",
            field=field,
            reason="EXPIRE_TIME_PAST",
        )


def check_time_to_live(time_to_live_us: int, field: str) -> None:
    """Refuse a time that faces cannot be kept for; 0, for ever, is allowed.

    Raises:
        InvalidArgument: TIME_TO_LIVE_INVALID.
    """
    if time_to_live_us and not TIME_TO_LIVE_MIN_US <= time_to_live_us <= TIME_TO_LIVE_MAX_US:
        raise InvalidArgument(
            f"{field}: {time_to_live_us / 1e6:g} s is not allowed; give 1 s to 36,500 days, or 0 for ever",
            field=field,
            reason="TIME_TO_LIVE_INVALID",
        )


def check_labels(labels: Mapping[str, str], limits: Limits, field: str) -> None:
    """Refuse labels whose number, keys or values are not allowed.

    Raises:
        InvalidArgument: LABEL_KEY_INVALID.
        LimitExceeded: LIMIT_EXCEEDED.
    """
    check_count(len(labels), limits.labels_max, "labels_max", field)
    for key, value in labels.items():
        _check_label_key(key, field)
        check_text(value, limits.label_value_bytes_max, "label_value_bytes_max", f"{field}[{key}]")


def _check_label_key(key: str, field: str) -> None:
    if not _LABEL_KEY.fullmatch(key):
        raise InvalidArgument(
            f"{field}: label key {key[:80]!r} is not allowed: 1 to 63 of a-z, 0-9, '_', '.' and '-'",
            field=field,
            reason="LABEL_KEY_INVALID",
        )


def check_filter(row_filter: Filter, limits: Limits, field: str) -> None:
    """Refuse a filter with too many parts, or with a condition that no label or time can be tested by.

    Raises:
        LimitExceeded: LIMIT_EXCEEDED.
        InvalidArgument: LABEL_KEY_INVALID, FILTER_INVALID.
    """
    check_labels(row_filter.identity_labels, limits, f"{field}.identity_labels")
    for name, ids in (
        ("identity_ids", row_filter.identity_ids),
        ("excluded_identity_ids", row_filter.excluded_identity_ids),
    ):
        check_count(len(ids), limits.filter_ids_max, "filter_ids_max", f"{field}.{name}")
    check_count(len(row_filter.conditions), limits.labels_max, "labels_max", f"{field}.conditions")
    for position, condition in enumerate(row_filter.conditions):
        path = f"{field}.conditions[{position}]"
        if condition.subject in _LABEL_SUBJECTS:
            _check_label_condition(condition, limits, path)
        elif condition.time_range_us is None:
            raise _filter_invalid(path, "a condition on a time needs a time_range")


def _check_label_condition(condition: Condition, limits: Limits, field: str) -> None:
    if not condition.key:
        raise _filter_invalid(field, "a condition on a label needs its key")
    _check_label_key(condition.key, f"{field}.key")
    if condition.time_range_us is not None:
        raise _filter_invalid(field, "a label is compared with one_of, number_range or exists, not with a time range")
    if condition.one_of is not None:
        check_count(len(condition.one_of), limits.filter_ids_max, "filter_ids_max", f"{field}.one_of")
        for position, value in enumerate(condition.one_of):
            path = f"{field}.one_of[{position}]"
            check_text(value, limits.label_value_bytes_max, "label_value_bytes_max", path)
    elif condition.number_range is None and condition.exists is None:
        raise _filter_invalid(field, "the condition has no test")


def _filter_invalid(field: str, what: str) -> InvalidArgument:
    return InvalidArgument(f"{field}: {what}", field=field, reason="FILTER_INVALID")


def _check_open_share(value: float | None, field: str) -> None:
    if value is not None and not 0.0 < value < 1.0:
        raise InvalidArgument(f"{field}: {value} is not between 0 and 1", field=field, reason="POLICY_INVALID")


def check_decision_policy(policy: DecisionPolicy, field: str) -> None:
    """Refuse thresholds that cannot be.

    Raises:
        InvalidArgument: POLICY_INVALID.
    """
    similarity = policy.similarity
    if similarity is not None and not (math.isfinite(similarity) and -1.0 <= similarity <= 1.0):
        raise InvalidArgument(
            f"{field}.similarity: {similarity} is no cosine similarity; give one of [-1, 1]",
            field=f"{field}.similarity",
            reason="POLICY_INVALID",
        )
    _check_open_share(policy.target_fpir, f"{field}.target_fpir")
    _check_open_share(policy.target_fmr, f"{field}.target_fmr")


def check_enrollment_policy(policy: EnrollmentPolicy, field: str) -> None:
    """Refuse a minimum quality that cannot be.

    Raises:
        InvalidArgument: POLICY_INVALID.
    """
    if not 0.0 <= policy.minimum_quality <= 1.0:
        raise InvalidArgument(
            f"{field}.minimum_quality: {policy.minimum_quality} is not between 0 and 1",
            field=f"{field}.minimum_quality",
            reason="POLICY_INVALID",
        )


def check_index_policy(policy: IndexPolicy, field: str) -> None:
    """Refuse a recall target that cannot be.

    Raises:
        InvalidArgument: POLICY_INVALID.
    """
    if not 0.0 < policy.default_recall_target <= 1.0:
        raise InvalidArgument(
            f"{field}.default_recall_target: {policy.default_recall_target} is not in (0, 1]",
            field=f"{field}.default_recall_target",
            reason="POLICY_INVALID",
        )


def check_ids(ids: Iterable[str], limits: Limits, field: str) -> None:
    """Refuse the first of many face ids that is not allowed.

    Raises:
        InvalidArgument: FACE_ID_INVALID.
        LimitExceeded: LIMIT_EXCEEDED.
    """
    for position, face_id in enumerate(ids):
        check_face_id(face_id, limits, f"{field}[{position}]")
