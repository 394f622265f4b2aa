"""The figures, as docs and tests mean them: lateness, frame rate, voice-to-lips delay, audio-video offset.

Everything here is arithmetic on arrays of times and signals; nothing knows of connections.

- A frame is *visible* from its arrival; on the media timeline its time is the middle of the 40 ms that it is shown.
- Loudness is taken in steps of 10 ms, each at its middle.
- Lags are those of the best correlation on a 5 ms grid, refined by a parabola.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from webrtc_avatar.audio.chunk import CHUNK_S, SOUND_RATE_HZ, Sound
from webrtc_avatar.client.receiving import SenderReports

Floats = npt.NDArray[np.float64]

STEP_S = 0.010
"""Step of the loudness."""

STEP_SAMPLES = round(STEP_S * SOUND_RATE_HZ)
_GRID_S = 0.005
_QUIET_DBFS = -50.0
_LOUD_DBFS = -15.0
_SPEECH_BELOW_PEAK_DB = 20.0
_SILENCE_S = 0.3
_CLICK_STEPS = 3
_ONSET_PATIENCE_S = 1.5
_FEWEST_POINTS = 50


@dataclass(frozen=True)
class Lag:
    """How far one signal trails another.

    Attributes:
        lag_ms: positive where the second signal is later.
        correlation: Pearson's, at that lag.
    """

    lag_ms: float
    correlation: float


@dataclass(frozen=True)
class Percentiles:
    """Of a set of times, in milliseconds."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    count: int


def percentiles(values_s: npt.ArrayLike) -> Percentiles | None:
    """Return percentiles of times in seconds; None for an empty set."""
    values = np.asarray(values_s, np.float64)
    if values.size == 0:
        return None
    p50, p95, p99 = np.percentile(values, [50, 95, 99]) * 1000
    return Percentiles(float(p50), float(p95), float(p99), int(values.size))


def level_dbfs(sound: Sound) -> Floats:
    """Return the level of each 10 ms of int16 (n,) 48 kHz sound, float64 (n // 480,), in dB below full scale."""
    steps = sound[: sound.size - sound.size % STEP_SAMPLES].reshape(-1, STEP_SAMPLES).astype(np.float64) / 32768
    return np.asarray(10 * np.log10(np.mean(steps**2, axis=1) + 1e-10))


def loudness(level: Floats) -> Floats:
    """Return levels in dBFS as loudness 0..1, smoothed over 50 ms without a shift: what a mouth follows."""
    if level.size == 0:
        return level
    loud = np.clip((level - _QUIET_DBFS) / (_LOUD_DBFS - _QUIET_DBFS), 0, 1)
    return np.convolve(np.pad(loud, 2, mode="edge"), np.full(5, 0.2), mode="valid")


def frame_rate(media_s: Floats, arrived_s: Floats) -> tuple[float | None, float]:
    """Return frames with new media times per second of wall time after the first second, and the span in seconds."""
    if arrived_s.size == 0:
        return None, 0.0
    _, first = np.unique(media_s, return_index=True)
    times = np.sort(arrived_s[first])
    times = times[times >= times[0] + 1.0]
    if times.size < 2:
        return None, 0.0
    span_s = float(times[-1] - times[0])
    return (times.size - 1) / span_s if span_s > 0 else None, span_s


def lateness_s(media_s: Floats, arrived_s: Floats) -> Floats:
    """Return by how much each frame is later than the timeliest one, float64 (n,), in seconds."""
    if arrived_s.size == 0:
        return arrived_s
    late = (arrived_s - arrived_s[0]) - (media_s - media_s[0])
    return np.asarray(late - late.min())


def best_lag(
    first_s: Floats, first: Floats, second_s: Floats, second: Floats, *, earliest_s: float, latest_s: float
) -> Lag | None:
    """Return the lag of `second` behind `first` at which they correlate best.

    Args:
        first_s: times of the first signal, rising.
        first: its values.
        second_s: times of the second signal, rising, on the same clock.
        second: its values.
        earliest_s: smallest lag that is tried.
        latest_s: greatest lag that is tried.

    Returns:
        The lag; None where the signals overlap too little or do not vary.
    """
    if min(first.size, second.size) < _FEWEST_POINTS:
        return None
    start_s = max(first_s[0], second_s[0] - earliest_s)
    end_s = min(first_s[-1], second_s[-1] - latest_s)
    if end_s - start_s < 2.0:
        return None
    grid_s = np.arange(start_s, end_s, _GRID_S)
    reference = _normalised(np.interp(grid_s, first_s, first))
    lags_s = np.arange(earliest_s, latest_s + _GRID_S / 2, _GRID_S)
    if reference is None:
        return None
    scores = np.zeros(lags_s.size)
    for index, lag_s in enumerate(lags_s):
        shifted = _normalised(np.interp(grid_s + lag_s, second_s, second))
        scores[index] = 0.0 if shifted is None else float(reference @ shifted)
    peak = int(scores.argmax())
    if scores[peak] <= 0:
        return None
    shift = 0.0
    if 0 < peak < lags_s.size - 1:
        before, top, after = scores[peak - 1 : peak + 2]
        bend = before - 2 * top + after
        shift = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return Lag(float(lags_s[peak] + shift * _GRID_S) * 1000, float(scores[peak]))


def _normalised(values: Floats) -> Floats | None:
    centred = values - values.mean()
    norm = float(np.linalg.norm(centred))
    return centred / norm if norm > 1e-9 else None


def voice_to_lips(spoken_level: Floats, spoken_s: float, arrived_s: Floats, mouth: Floats) -> Lag | None:
    """Return how long after a sound was spoken the mouth in the received frames shows it.

    Args:
        spoken_level: level of each 10 ms that was sent, in dBFS.
        spoken_s: when the first of them was spoken.
        arrived_s: arrival of each frame, on the same clock.
        mouth: opening of the mouth in each frame.
    """
    times = spoken_s + (np.arange(spoken_level.size, dtype=np.float64) + 0.5) * STEP_S
    return best_lag(times, loudness(spoken_level), arrived_s, mouth, earliest_s=0.0, latest_s=1.2)


def speech_onsets_s(level: Floats) -> Floats:
    """Return when speech begins after at least 300 ms of silence, in seconds from the first sample."""
    if level.size == 0:
        return level
    threshold = max(_QUIET_DBFS, float(np.percentile(level, 98)) - _SPEECH_BELOW_PEAK_DB)
    speech = level > threshold
    quiet_steps = round(_SILENCE_S / STEP_S)
    onsets: list[float] = []
    for index in range(quiet_steps, speech.size):
        silent = speech[index - quiet_steps : index].sum() <= _CLICK_STEPS
        starts = speech[index] and speech[index : index + 8].sum() >= 5
        if silent and starts and (not onsets or index * STEP_S - onsets[-1] > _SILENCE_S):
            onsets.append(index * STEP_S)
    return np.asarray(onsets, np.float64)


def onset_delays_s(onsets_s: Floats, arrived_s: Floats, mouth: Floats) -> Floats:
    """Return, for each onset, the time to the first frame whose mouth has left its rest, in seconds.

    An onset counts only where the mouth is seen at rest after it: while the mouth is still closing from what was said
    before, its movement says nothing.

    Args:
        onsets_s: when speech began, on the clock of `arrived_s`.
        arrived_s: arrival of each frame, rising.
        mouth: opening of the mouth in each frame.
    """
    if mouth.size < _FEWEST_POINTS:
        return np.zeros(0)
    low, high = np.percentile(mouth, [5, 95])
    threshold = 0.15 * (high - low)
    if threshold <= 0:
        return np.zeros(0)
    delays = []
    for onset_s in onsets_s:
        before = mouth[(arrived_s > onset_s - 0.18) & (arrived_s <= onset_s + 0.02)]
        if before.size < 3:
            continue
        rest = float(np.median(before))
        window = (arrived_s >= onset_s) & (arrived_s < onset_s + _ONSET_PATIENCE_S)
        moved = np.abs(mouth[window] - rest) > threshold
        if rest > low + 2 * threshold or np.ptp(before) > threshold or not moved.any():
            continue
        delays.append(float(arrived_s[window][int(moved.argmax())] - onset_s))
    return np.asarray(delays)


def media_clock_relation_s(
    sound: SenderReports, picture: SenderReports, *, since_s: float | None = None
) -> float | None:
    """Return what to add to `RTP time / rate` of a picture for the same of the sound that belongs to it.

    Each report says what to add for the sender's wall clock. That value may wander in both streams when the sender is
    held up, so both are compared at the same moments; the median over the picture's reports counts.

    Args:
        sound: the sound's sender reports.
        picture: the picture's sender reports.
        since_s: only reports not older than this many seconds before the latest.
    """
    if not sound.rtp or not picture.rtp:
        return None
    sound_ntp_s, picture_ntp_s = np.asarray(sound.ntp_s), np.asarray(picture.ntp_s)
    sound_offset_s = sound_ntp_s - np.asarray(sound.rtp, np.float64) / sound.rate_hz
    picture_offset_s = picture_ntp_s - np.asarray(picture.rtp, np.float64) / picture.rate_hz
    relations = picture_offset_s - np.interp(picture_ntp_s, sound_ntp_s, sound_offset_s)
    if since_s is not None:
        relations = relations[picture_ntp_s >= picture_ntp_s[-1] - since_s]
    return float(np.median(relations))


def audio_video_offset(sound_s: Floats, level: Floats, picture_s: Floats, mouth: Floats) -> Lag | None:
    """Return by how much the picture trails the sound on their common media timeline; positive: sound first.

    Args:
        sound_s: media time of the start of each 10 ms of returned sound.
        level: its level in dBFS.
        picture_s: media time of each frame's start.
        mouth: opening of the mouth in each frame.
    """
    return best_lag(
        sound_s + STEP_S / 2,
        loudness(level),
        picture_s + CHUNK_S / 2,
        mouth,
        earliest_s=-0.5,
        latest_s=0.5,
    )
