"""A photo says what the microphone hears.

python examples/chunked_microphone.py --image me.jpg
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from webrtc_avatar.client import ChunkedStreamingClient
from webrtc_avatar.errors import AvatarServerError

Block = npt.NDArray[np.float32]


def microphone(seconds: float, rate_hz: int, block_s: float) -> Iterator[Block]:
    """Yield what the default microphone hears, (n, 1), until the time is over or Ctrl-C is pressed."""
    import sounddevice

    size = round(block_s * rate_hz)
    with sounddevice.InputStream(samplerate=rate_hz, channels=1, dtype="float32", blocksize=size) as stream:
        for _ in range(round(seconds / block_s)):
            try:
                block, _ = stream.read(size)
            except KeyboardInterrupt:
                return
            yield block


def speak(client: ChunkedStreamingClient, image: Path, blocks: Iterable[Block], rate_hz: int) -> None:
    """Have a photo say blocks of sound as they come."""
    client.init_session(image, chunk_duration=0.5, audio_sample_rate=rate_hz)
    print(f"speak, and watch it: {client.hls_url}")
    for block in blocks:
        answer = client.feed_audio_chunk(block)
        print(f"\r{answer['frames_generated']} frames", end="", flush=True)
    client.feed_audio_chunk(None, is_final=True)
    print(f"\r{client.wait()['total_frames_generated']} frames; the film stays for 50 minutes")


def main(arguments: list[str] | None = None) -> None:
    """Do as the command line says."""
    parser = argparse.ArgumentParser(description="A photo says what the microphone hears.")
    parser.add_argument("--server", default="http://127.0.0.1:8080")
    parser.add_argument("--image", type=Path, required=True, help="a JPEG, PNG or WebP with one face")
    parser.add_argument("--seconds", type=float, default=30, help="how long to listen [30]")
    parser.add_argument("--rate-hz", type=int, default=48_000, help="the microphone's rate [48000]")
    parser.add_argument("--block-s", type=float, default=0.25, help="seconds of sound that are sent at a time [0.25]")
    asked = parser.parse_args(arguments)
    try:
        import sounddevice  # noqa: F401
    except (ImportError, OSError) as error:
        parser.exit(1, f"the microphone needs sounddevice and PortAudio ({error}): pip install sounddevice\n")
    try:
        blocks = microphone(asked.seconds, asked.rate_hz, asked.block_s)
        speak(ChunkedStreamingClient(asked.server), asked.image, blocks, asked.rate_hz)
    except AvatarServerError as error:
        parser.exit(1, f"{error.message}\n")


if __name__ == "__main__":
    main()
