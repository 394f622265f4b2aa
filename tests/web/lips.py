"""What the notes of `watch_face.js` say about a face: how open its mouth was, how loud the voice."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from playwright.sync_api import Page

SCRIPT = Path(__file__).with_name("watch_face.js")

MOUTH_BOX = (144, 248, 368, 408)
"""Where the avatar iris has its mouth: left, top, right, bottom, pixels."""
SHRINK = 8
_CORE = (slice(None), slice(6, 16), slice(6, 22))
"""The lips and what is between them, in shrunk pixels of the box."""

STEP_S = 0.02
SMOOTHING_STEPS = 5
SILENT = 0.002
LOUD = 0.01

Signal = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Notes:
    """Some seconds of a session, all times on the page's clock.

    Attributes:
        times_s: float64 (frames,), when each frame was shown.
        mouths: float64 (frames, 20, 28, 3), the mouth's box, RGB 0..255.
        spoken: float64 (n, 2), seconds and loudness (root mean square, full scale 1) of the microphone.
        returned: float64 (m, 2), the same of the sound that came back.
    """

    times_s: Signal
    mouths: Signal
    spoken: Signal
    returned: Signal

    def opening(self) -> Signal:
        """Return how far the mouth is from any of its shapes in silence: float64 (frames,), grey levels.

        From the nearest of them, because the head sways in silence too.
        """
        core = self.mouths[_CORE]
        resting = core[self._silent(self.times_s, around_s=0.3)][::3]
        return np.array([np.abs(resting - mouth).mean(axis=(1, 2, 3)).min() for mouth in core])

    def stir(self) -> tuple[float, float]:
        """Return how much the mouth changes from frame to frame, grey levels: median in silence, median in speech."""
        changes = np.abs(np.diff(self.mouths[_CORE], axis=0)).mean(axis=(1, 2, 3))
        times_s = self.times_s[1:]
        silent = self._silent(times_s, around_s=0.3)
        speaking = np.interp(times_s, *self.returned.T) > LOUD
        return float(np.median(changes[silent])), float(np.median(changes[speaking]))

    def correlation(self, sound: Signal, *, lags_s: tuple[float, float]) -> tuple[float, float]:
        """Return the best correlation of the mouth's opening with the sound's loudness, and the lag where it is, seconds.

        A positive lag: the mouth follows the sound. Loudness is taken as it is perceived, which grows about with the
        square root of the pressure (Stevens 1957).
        """
        opening = self.opening()
        times_s, pressure = sound.T
        perceived = np.sqrt(pressure)
        best = (-1.0, 0.0)
        for lag_s in np.arange(*lags_s, STEP_S):
            first_s = max(self.times_s[0], sound[0, 0] + lag_s)
            last_s = min(self.times_s[-1], sound[-1, 0] + lag_s)
            grid_s = np.arange(first_s, last_s, STEP_S)
            loudness = np.interp(grid_s - lag_s, times_s, perceived)
            envelope = np.convolve(loudness, np.ones(SMOOTHING_STEPS) / SMOOTHING_STEPS, mode="same")
            value = float(np.corrcoef(envelope, np.interp(grid_s, self.times_s, opening))[0, 1])
            best = max(best, (value, float(lag_s)))
        return best

    def _silent(self, times_s: Signal, *, around_s: float) -> npt.NDArray[np.bool_]:
        """Tell at which times nothing was heard for `around_s` on both sides."""
        steps_s = np.arange(-around_s, around_s + STEP_S, STEP_S)
        heard = np.interp(times_s[:, None] + steps_s, *self.returned.T)
        return np.asarray((heard < SILENT).all(axis=1))


def frames_a_second(page: Page, *, seconds: float) -> Signal:
    """Count the frames of a running session that are decoded and shown in each second."""
    script = """async seconds => {
      const rows = [];
      for (let second = 0; second <= seconds; second++) {
        const { totalVideoFrames, droppedVideoFrames } = document.querySelector("video").getVideoPlaybackQuality();
        rows.push([performance.now() / 1000, totalVideoFrames - droppedVideoFrames]);
        await new Promise((resolve) => setTimeout(resolve, 1000));
      }
      return rows;
    }"""
    steps = np.diff(np.array(page.evaluate(script, seconds)), axis=0)
    return np.asarray(steps[:, 1] / steps[:, 0])


def watch(page: Page, *, seconds: float, box: tuple[int, int, int, int] = MOUTH_BOX) -> Notes:
    """Watch a running session; `SCRIPT` must be among the page's initial scripts, `box` as large as `MOUTH_BOX`."""
    wish = {"seconds": seconds, "box": list(box), "shrink": SHRINK}
    notes: dict[str, Any] = json.loads(page.evaluate("wish => watchFace(wish)", wish))
    left, top, right, bottom = box
    shape = (-1, (bottom - top) // SHRINK, (right - left) // SHRINK, 3)
    return Notes(
        times_s=np.array([time_s for time_s, _ in notes["frames"]]),
        mouths=np.array([pixels for _, pixels in notes["frames"]], np.float64).reshape(shape),
        spoken=np.array(notes["spoken"]),
        returned=np.array(notes["returned"]),
    )
