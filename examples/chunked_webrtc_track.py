"""A photo says what callers say.

    python examples/chunked_webrtc_track.py --image me.jpg

Answers WebRTC offers at http://127.0.0.1:8081/offer ({"sdp", "type"}) with an answer, `session_id` and `hls_url`. What the caller's
microphone sends is fed to a chunked session of its own, which ends when the caller hangs up.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from aiohttp import web
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription

from webrtc_avatar.client import ChunkedStreamingClient
from webrtc_avatar.errors import AvatarServerError


class Calls:
    """Takes calls; each has a session with the same face.

    Args:
        server_url: of the avatar server.
        image: the face.
    """

    def __init__(self, server_url: str, image: Path) -> None:
        self._server_url, self._image = server_url, image
        self._peers: set[RTCPeerConnection] = set()
        self._feeds: set[asyncio.Task[None]] = set()

    async def offer(self, request: web.Request) -> web.Response:
        """Answer an offer, and feed the voice that follows."""
        asked = await request.json()
        client = ChunkedStreamingClient(self._server_url)
        try:
            await asyncio.to_thread(client.init_session, self._image, chunk_duration=0.5)
        except AvatarServerError as error:
            return web.json_response({"detail": error.message}, status=error.status)
        peer = RTCPeerConnection()
        self._peers.add(peer)

        @peer.on("track")
        def on_track(track: MediaStreamTrack) -> None:
            if track.kind == "audio":
                task = asyncio.create_task(self._feed(client, track))
                self._feeds.add(task)
                task.add_done_callback(self._feeds.discard)

        @peer.on("connectionstatechange")
        async def on_change() -> None:
            if peer.connectionState in ("failed", "closed"):
                self._peers.discard(peer)
                await peer.close()

        await peer.setRemoteDescription(RTCSessionDescription(asked["sdp"], asked["type"]))
        await peer.setLocalDescription(await peer.createAnswer())
        answer = peer.localDescription
        return web.json_response(
            {"sdp": answer.sdp, "type": answer.type, "session_id": client.session_id, "hls_url": client.hls_url}
        )

    async def aclose(self, _app: web.Application) -> None:
        """Hang up."""
        await asyncio.gather(*(peer.close() for peer in self._peers))
        await asyncio.gather(*self._feeds)

    @staticmethod
    async def _feed(client: ChunkedStreamingClient, track: MediaStreamTrack) -> None:
        try:
            answer = await client.feed_track(track)
            print(f"session {client.session_id}: {answer['message']}")
        except AvatarServerError as error:
            print(f"session {client.session_id}: {error.message}")


def make_app(server_url: str, image: Path) -> web.Application:
    """Return the application."""
    calls = Calls(server_url, image)
    app = web.Application()
    app.router.add_post("/offer", calls.offer)
    app.on_shutdown.append(calls.aclose)
    return app


def main(arguments: list[str] | None = None) -> None:
    """Do as the command line says."""
    parser = argparse.ArgumentParser(description="A photo says what callers say.")
    parser.add_argument("--server", default="http://127.0.0.1:8080")
    parser.add_argument("--image", type=Path, required=True, help="a JPEG, PNG or WebP with one face")
    parser.add_argument("--port", type=int, default=8081)
    asked = parser.parse_args(arguments)
    web.run_app(make_app(asked.server, asked.image), host="127.0.0.1", port=asked.port)


if __name__ == "__main__":
    main()
