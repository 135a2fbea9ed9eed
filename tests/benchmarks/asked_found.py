"""What was measured of one way to ask for work: waits one by one, and a burst."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    waits: int
    burst: int
    short_burst: int
    """Of peers whose jobs take milliseconds: so many that their burst lasts, too."""


@dataclass(frozen=True)
class Found:
    """Waits in s from the publish or the request to the first line; what a burst took."""

    waits: Sequence[float]
    jobs: int
    wall_s: float
    """From the first publish or request to the end of the last job."""

    @property
    def median_s(self) -> float:
        """Return the wait of the middle."""
        return median(self.waits)

    @property
    def rate(self) -> float:
        """Return jobs per second of the burst."""
        return self.jobs / self.wall_s
