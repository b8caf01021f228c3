"""A figure: what was measured, what it is compared with, and whether that is good enough."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Self

__all__ = ["Figure", "Target", "size_name"]


@dataclass(frozen=True, slots=True)
class Target:
    """What the design asks of a figure."""

    text: str
    is_met: bool

    @classmethod
    def at_most(cls, actual: float, limit: float, unit: str = "x") -> Self:
        """A limit from above."""
        return cls(f"<= {limit:g} {unit}", actual <= limit)

    @classmethod
    def at_least(cls, actual: float, limit: float, unit: str = "x") -> Self:
        """A limit from below."""
        return cls(f">= {limit:g} {unit}", actual >= limit)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report.

    Attributes:
        name: stable, so that the figure can be followed over time; sizes are part of it.
        value: ours, in `unit`.
        baseline: what it is compared with, measured in the same run, in `unit`.
        ratio: value / baseline.
        detail: what was compared with what, for a reader who doubts it.
    """

    name: str
    value: float
    unit: str
    baseline: float
    detail: str
    target: Target | None = None

    @property
    def ratio(self) -> float:
        """Ours by theirs; not a number where there is nothing to compare with."""
        return self.value / self.baseline if self.baseline else float("nan")

    def to_json(self) -> dict[str, object]:
        """As `latest.json` keeps it."""
        target = None if self.target is None else asdict(self.target)
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "baseline": self.baseline,
            "ratio": self.ratio,
            "detail": self.detail,
            "target": target,
        }


def size_name(rows: int) -> str:
    """1m for 1,000,000, 100k for 100,000."""
    if rows % 1_000_000 == 0:
        return f"{rows // 1_000_000}m"
    return f"{rows // 1000}k" if rows % 1000 == 0 else str(rows)
