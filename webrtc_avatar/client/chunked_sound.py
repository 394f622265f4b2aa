"""Sound as programs have it, as a WAV file: arrays, frames of PyAV and aiortc, bare bytes."""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from av import AudioFrame

from webrtc_avatar.errors import InvalidAudio

_MOST_CHANNELS = 8
_RIFF = b"RIFF"

Sound = npt.NDArray[np.generic] | AudioFrame


def wav_of(sound: Sound, rate_hz: int) -> bytes | None:
    """Return a WAV file of 16 bits; none where there is nothing in the sound.

    Args:
        sound: int16, int32 or floats in -1..1, (n,) or (n, channels); or an `av.AudioFrame`, which knows its own rate.
        rate_hz: of an array.

    Raises:
        InvalidAudio: the array is no sound.
    """
    samples, rate_hz = joined([sound]) if isinstance(sound, AudioFrame) else (sound, rate_hz)
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and not 1 <= samples.shape[1] <= _MOST_CHANNELS):
        raise InvalidAudio(
            f"sound is (n,) or (n, channels) with at most {_MOST_CHANNELS} channels; got the shape {samples.shape}: "
            "reshape it, or feed an AudioFrame itself"
        )
    return _wav(_int16(samples).tobytes(), 1 if samples.ndim == 1 else samples.shape[1], rate_hz)


def wav_of_bytes(data: bytes, rate_hz: int) -> bytes | None:
    """Return a WAV file of bare samples, int16, little-endian, mono; one that is a WAV file already as it is.

    Args:
        data: the samples.
        rate_hz: their rate.

    Raises:
        InvalidAudio: there is half a sample.
    """
    if data.startswith(_RIFF):
        return data
    if len(data) % 2:
        raise InvalidAudio(f"bare samples are int16; got {len(data)} bytes, which is half a sample too many")
    return _wav(data, 1, rate_hz)


def joined(frames: Sequence[AudioFrame]) -> tuple[npt.NDArray[np.generic], int]:
    """Return the samples of frames of one kind, (n, channels), and their rate in Hz."""
    parts = []
    for frame in frames:
        samples = frame.to_ndarray()
        parts.append(samples.T if frame.format.is_planar else samples.reshape(-1, len(frame.layout.channels)))
    return np.concatenate(parts), frames[0].sample_rate


def _int16(samples: npt.NDArray[np.generic]) -> npt.NDArray[np.int16]:
    if np.issubdtype(samples.dtype, np.floating):
        finite = np.clip(np.nan_to_num(samples.astype(np.float64), nan=0.0, posinf=1.0, neginf=-1.0), -1.0, 1.0)
        return np.rint(finite * 32767).astype("<i2")
    if samples.dtype == np.int16:
        return samples.astype("<i2")
    if samples.dtype == np.int32:
        return (samples.astype(np.int32) >> 16).astype("<i2")
    raise InvalidAudio(f"sound is int16, int32 or floats; got {samples.dtype}")


def _wav(pcm: bytes, channels: int, rate_hz: int) -> bytes | None:
    if not pcm:
        return None
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(pcm)
    return target.getvalue()
