"""A photo says a sound file.

python examples/chunked_file.py --image me.jpg --audio speech.mp3 --save film.mp4
"""

from __future__ import annotations

import argparse
from pathlib import Path

import av

from webrtc_avatar.client import ChunkedStreamingClient
from webrtc_avatar.errors import AvatarServerError


def speak(client: ChunkedStreamingClient, image: Path, audio: Path) -> int:
    """Have a photo say a file, and return how many frames the film has."""
    client.init_session(image)
    for warning in client.warnings:
        print(f"note: {warning}")
    print(f"watch it while it grows: {client.hls_url}")
    for answer in client.feed_file(audio):
        print(f"{answer['frames_generated']} frames, {answer['buffer_samples'] / 16_000:.1f} s of sound waiting")
    frames = int(client.wait()["total_frames_generated"])
    print(f"{frames} frames, {frames / 25:.1f} s")
    return frames


def save(hls_url: str, path: Path) -> None:
    """Save a film as MP4, without encoding it again."""
    with av.open(hls_url) as source, av.open(str(path), "w") as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)


def main(arguments: list[str] | None = None) -> None:
    """Do as the command line says."""
    parser = argparse.ArgumentParser(description="A photo says a sound file.")
    parser.add_argument("--server", default="http://127.0.0.1:8080")
    parser.add_argument("--image", type=Path, required=True, help="a JPEG, PNG or WebP with one face")
    parser.add_argument("--audio", type=Path, required=True, help="any file with sound")
    parser.add_argument(
        "--save", type=Path, help="the film as a file; without it, it stays on the server for 50 minutes"
    )
    asked = parser.parse_args(arguments)
    client = ChunkedStreamingClient(asked.server)
    try:
        speak(client, asked.image, asked.audio)
        if asked.save:
            save(str(client.hls_url), asked.save)
            client.cleanup()
    except AvatarServerError as error:
        parser.exit(1, f"{error.message}\n")


if __name__ == "__main__":
    main()
