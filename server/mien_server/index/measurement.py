"""What measuring a generation found, on its way from the builder's process to the manifest."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

from mien_server.errors import InternalError
from mien_server.index.manifest import LadderStep, Staging, ladder_of_fields, staging_of_fields, stagings_of_fields

__all__ = ["Measurement"]


@dataclass(frozen=True, slots=True)
class Measurement:
    """A ladder and stages, as `rows` rows were measured by `probe_count` stored faces.

    Attributes:
        rows: rows that the lists held and that were live.
        staging, relaxed_stagings: as in Manifest.
        recall_target: what `staging` was chosen for.
        time_us: when, microseconds since 1970.
        drift: see `Manifest.drift`; None when nothing was measured before.
    """

    ladder: tuple[LadderStep, ...]
    staging: Staging | None
    probe_count: int
    rows: int
    recall_target: float
    time_us: int
    drift: float | None = None
    relaxed_stagings: tuple[Staging, ...] = ()

    def to_fields(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    @classmethod
    def of_fields(cls, fields: object) -> Self:
        """Inverse of `to_fields`. Raises InternalError when these are no such fields."""
        try:
            if not isinstance(fields, dict):
                raise TypeError("not a JSON object")
            ladder, staging = ladder_of_fields(fields["ladder"]), staging_of_fields(fields["staging"])
            relaxed = stagings_of_fields(fields["relaxed_stagings"])
            return cls(**(fields | {"ladder": ladder, "staging": staging, "relaxed_stagings": relaxed}))
        except (TypeError, KeyError) as error:
            raise InternalError(
                f"the builder's measurement cannot be read: {error!r}", reason="BUILD_FAILED"
            ) from error
