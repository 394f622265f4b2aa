"""When each tick is due: a 25 Hz clock that follows the arrival of sound.

The phase of a chunk is its arrival minus its place on an ideal 40 ms grid. The clock keeps to the latest phase seen
lately, so ordinary jitter never makes a tick late, and creeps back when arrivals are early again: by a share of what is left
at each chunk, with a time constant of 2.7 s while somebody speaks and of 0.4 s in silence. It thereby follows the sender's
clock, whatever its drift.
"""

from __future__ import annotations

from webrtc_avatar.audio.chunk import CHUNK_S
from webrtc_avatar.engine.status import EngineStatus
from webrtc_avatar.settings import Settings

COMPOSE_S = 0.010
"""Kept free before a tick is due, for composing its picture."""
_CALLS = 3
_LONGEST_BUDGET_S = 0.2
_RECOVERY = 0.015
_RECOVERY_IN_SILENCE = 0.10
_MAX_DELAY_S = 0.5


def budget_s(settings: Settings, engine: EngineStatus, avatar_name: str) -> float:
    """Return the time that a tick gets: as the settings say, or for a slow model three calls as measured.

    What the settings allow is too short for SyncTalk_2D on a CPU, and beside its look-ahead a tenth of a second is little.
    """
    call_s = next((model.batch_s.get(1, 0.0) for model in engine.models if model.name == avatar_name), 0.0)
    return max(settings.render_budget_ms / 1000, min(COMPOSE_S + _CALLS * call_s, _LONGEST_BUDGET_S))


class Timeline:
    """The clock of one session.

    Attributes:
        budget_s: the time that a tick gets between the arrival of its last chunk and its departure; may be set at any time.
    """

    def __init__(self, *, budget_s: float) -> None:
        """Take the time that a tick gets."""
        self.budget_s = budget_s
        self._phase_s: float | None = None

    def due(self, index: int, arrived_s: float, *, silent: bool) -> float:
        """Return when the tick that chunk `index` completes is due, on the clock of `arrived_s`.

        Args:
            index: number of the chunk that arrived; consecutive.
            arrived_s: when it arrived, `time.monotonic()` seconds.
            silent: nobody speaks, so the clock may recover faster unheard.
        """
        phase_s = arrived_s - index * CHUNK_S
        if self._phase_s is None or phase_s > self._phase_s:
            self._phase_s = phase_s
        else:
            early_s = self._phase_s - phase_s
            self._phase_s -= early_s * (_RECOVERY_IN_SILENCE if silent else _RECOVERY)
            # After a stall and the burst that follows it, half a second of delay is as much as anybody will bear.
            self._phase_s = min(self._phase_s, phase_s + _MAX_DELAY_S)
        return self._phase_s + index * CHUNK_S + self.budget_s

    def reset(self) -> None:
        """Forget the phase: the next chunk sets it anew."""
        self._phase_s = None
