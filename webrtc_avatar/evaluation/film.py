"""Films an avatar without a server: a recording in, an MP4 out, drawn by the same parts as a session's.

python -m webrtc_avatar.evaluation.film SPEECH OUTPUT.mp4 [--avatar iris] [--frame-px 512] [--seed 0]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from webrtc_avatar.audio.chunk import CHUNK_SAMPLES, FRAME_RATE_HZ, SAMPLE_RATE_HZ, Samples
from webrtc_avatar.audio.gate import VoiceGate
from webrtc_avatar.avatar.actor import Actor
from webrtc_avatar.avatar.library import Library
from webrtc_avatar.avatar.package import Avatar, drawn
from webrtc_avatar.engine.runtime.onnx import OnnxRuntime
from webrtc_avatar.engine.viseme import VisemeModel
from webrtc_avatar.evaluation.ear import stream_windows
from webrtc_avatar.evaluation.recordings import read_sound
from webrtc_avatar.session.voice import Voice
from webrtc_avatar.settings import Settings

_LEAD_S, _END_S = 0.6, 0.8


def frames(
    avatar: Avatar, samples: Samples, *, seed: int = 0, frame_px: int | None = None
) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the I420 pictures (frame_px * 3 / 2, frame_px) of a face that speaks, one a chunk of 16 kHz sound."""
    model, lookahead = VisemeModel(avatar, OnnxRuntime(threads=1)), avatar.model.chunks_after
    actor, voice = Actor(avatar, seed=seed, frame_px=frame_px), Voice()
    gate = VoiceGate(silence_dbfs=float(Settings.model_fields["silence_dbfs"].default))
    windows = stream_windows(samples, chunks_more=lookahead)[lookahead:]
    padded = np.pad(samples, (0, (len(windows) + lookahead) * CHUNK_SAMPLES - len(samples)))
    chunks = padded.reshape(-1, CHUNK_SAMPLES)
    voiced = [gate.push(chunk) for chunk in chunks]
    for tick, window in enumerate(windows):
        speaking = voiced[tick + lookahead]
        voice.note(chunks[tick])
        crop = model.draw(model.encode_audio(window[None]))[0] if speaking else None
        yield actor.draw(tick, crop, voice.cue(voice.take(), speaking=speaking, listening=False))


def film(avatar: Avatar, speech: Path, output: Path, *, seed: int = 0, frame_px: int | None = None) -> int:
    """Write an MP4 (H.264, AAC) of the avatar saying a recording, with some rest around it; return the frames."""
    heard = read_sound(speech).astype(np.float32) / np.float32(32768)
    samples = np.pad(heard, (int(_LEAD_S * SAMPLE_RATE_HZ), int(_END_S * SAMPLE_RATE_HZ))).astype(np.float32)
    count = 0
    with av.open(str(output), "w") as container:
        size = frame_px or avatar.frame_size
        video: Any = container.add_stream("libx264", rate=FRAME_RATE_HZ, options={"crf": "21", "preset": "slow"})
        video.width, video.height, video.pix_fmt, video.codec_context.thread_count = size, size, "yuv420p", 1
        audio: Any = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono")
        for picture in frames(avatar, samples, seed=seed, frame_px=frame_px):
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts = count
            container.mux(video.encode(frame))
            count += 1
        sound = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16)[None], format="s16", layout="mono")
        sound.sample_rate, sound.pts = SAMPLE_RATE_HZ, 0
        for stream, last in ((audio, sound), (audio, None), (video, None)):
            container.mux(stream.encode(last))
    return count


def main(arguments: list[str] | None = None) -> None:
    """Film."""
    parser = argparse.ArgumentParser(prog="webrtc_avatar.evaluation.film", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("speech", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--avatar", default="iris")
    parser.add_argument("--frame-px", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    avatar = drawn(Library().get(options.avatar))
    count = film(avatar, options.speech, options.output, seed=options.seed, frame_px=options.frame_px)
    print(f"{options.output}: {count} frames, {count / FRAME_RATE_HZ:.1f} s")


if __name__ == "__main__":
    main()
