"""What is asked of a measured value, and the table that shows whether it is given."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gate:
    """A range that a value must lie in; None leaves a side open."""

    least: float | None = None
    most: float | None = None

    def holds(self, value: float) -> bool:
        """Return whether the value lies in the range; what is not a number does not."""
        if math.isnan(value):
            return False
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def text(self, scale: float = 1.0) -> str:
        """Return the range for people, its numbers multiplied by `scale`."""
        least, most = (None if side is None else f"{side * scale:g}" for side in (self.least, self.most))
        if least and most:
            return f"{least} to {most}"
        return f">= {least}" if least else f"<= {most}" if most else ""


@dataclass(frozen=True, slots=True)
class Result:
    """One measured value.

    Attributes:
        what: what was measured.
        on: on what.
        value: in the unit of `text`; not a number where nothing could be measured.
        text: for people, with counts and unit.
        gate: what is asked of it; none: it is only told.
    """

    what: str
    on: str
    value: float
    text: str
    gate: Gate | None = None
    scale: float = 1.0

    @property
    def passed(self) -> bool:
        """Whether it lies within its gate; true without one."""
        return self.gate is None or self.gate.holds(self.value)


def table(results: list[Result]) -> str:
    """Return results as a Markdown table; a value outside its gate is marked."""
    lines = ["| what | on | measured | asked | |", "| --- | --- | --- | --- | --- |"]
    for result in results:
        asked = result.gate.text(result.scale) if result.gate else ""
        verdict = "" if result.gate is None else "yes" if result.passed else "**no**"
        lines.append(f"| {result.what} | {result.on} | {result.text} | {asked} | {verdict} |")
    return "\n".join(lines)
