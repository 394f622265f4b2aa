"""Speech for the bench, and what its audio-video offset would read if sound and picture were in step.

A mouth does not follow loudness to the millisecond: lips open for a vowel after the burst before it, and close after its
end. So even perfectly timed lips correlate best at a lag that belongs to the words (measured: 12 to 34 ms on five
LibriVox sentences, 42 ms for espeak-ng's own phoneme times), and a figure is read beside it.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soxr

from webrtc_avatar.audio.chunk import CHUNK_S, SAMPLE_RATE_HZ, SOUND_RATE_HZ
from webrtc_avatar.avatar.compose import Box, i420, planes, put
from webrtc_avatar.avatar.package import Avatar
from webrtc_avatar.client import measure
from webrtc_avatar.client.failures import NotMedia
from webrtc_avatar.client.mouth import opening
from webrtc_avatar.client.speech_track import decode_sound
from webrtc_avatar.engine.runtime.onnx import OnnxRuntime
from webrtc_avatar.engine.viseme import VisemeModel
from webrtc_avatar.evaluation.ear import stream_windows

_SENTENCES = (
    "Good morning, how are you today? My mother bought five pounds of ripe bananas. "
    "We found a small boat by the blue water. Please put the big box above the open door. "
    "They told me that the show begins at half past eleven. You should move a bit before the bell."
)
_LIBRIVOX = Path("/usr/share/pocketsphinx/test/data/librivox")
_PAUSE_S = 0.6
_BATCH = 64


@contextlib.contextmanager
def bench_speech(audio: Path | None) -> Iterator[Path]:
    """Yield a file with speech: the given one, or LibriVox sentences where they are installed, or espeak-ng's voice.

    Raises:
        NotMedia: none of them is there.
    """
    if audio is not None:
        yield audio
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        sentences = sorted(_LIBRIVOX.glob("*.wav"))
        if sentences:
            _join(sentences, path)
        elif program := shutil.which("espeak-ng"):
            command = [program, "-v", "en-us", "-s", "150", "-w", str(path), _SENTENCES]
            spoken = subprocess.run(command, capture_output=True, text=True, check=False)
            if spoken.returncode != 0:
                raise NotMedia(f"espeak-ng failed ({spoken.stderr.strip()[:200]}); name a sound file with --audio")
        else:
            raise NotMedia(
                "there is no speech to send; name a sound file with --audio, "
                "or install the package pocketsphinx-testdata or espeak-ng"
            )
        yield path


def _join(sentences: list[Path], path: Path) -> None:
    """Write the sentences, with pauses between them, into one WAV file at 48 kHz."""
    pause = np.zeros(round(_PAUSE_S * SOUND_RATE_HZ), np.int16)
    parts = [part for sentence in sentences for part in (decode_sound(sentence), pause)]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SOUND_RATE_HZ)
        file.writeframes(np.concatenate(parts[:-1]).astype("<i2").tobytes())


def in_step_lag(avatar: Avatar, audio: Path) -> measure.Lag | None:
    """Return the audio-video offset of an avatar's lips that are in step by construction: frame n beside chunk n.

    Args:
        avatar: whose networks move the lips.
        audio: the speech, of which at most a minute is used.

    Raises:
        NotMedia: the file holds no sound.
        InvalidAvatar: a network cannot be loaded.
    """
    sound = decode_sound(audio)[: 60 * SOUND_RATE_HZ]
    samples = soxr.resample(sound.astype(np.float32) / 32768, SOUND_RATE_HZ, SAMPLE_RATE_HZ).astype(np.float32)
    model, lookahead = VisemeModel(avatar, OnnxRuntime(threads=1)), avatar.model.chunks_after
    windows = stream_windows(samples, chunks_more=lookahead)[lookahead:]
    heights: list[float] = []
    box = Box(*avatar.mouth_box)
    for first in range(0, len(windows), _BATCH):
        for crop in model.draw(model.encode_audio(windows[first : first + _BATCH])):
            frame = planes(i420(avatar.plate))
            put(frame, box, crop)
            heights.append(opening(frame.u, frame.v))
    level = measure.level_dbfs(sound)
    return measure.audio_video_offset(
        np.arange(level.size, dtype=np.float64) * measure.STEP_S,
        level,
        np.arange(len(windows), dtype=np.float64) * CHUNK_S,
        np.asarray(heights),
    )
