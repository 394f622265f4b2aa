"""What a service says about avatars: loads them, lists them, describes them, shows their footage.

Answers are the contract's fields by name, which gRPC and WebSocket carry alike.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from webrtc_avatar.audio.chunk import FRAME_RATE_HZ
from webrtc_avatar.avatar.library import Library
from webrtc_avatar.avatar.package import Avatar
from webrtc_avatar.avatar.painter import Bounds
from webrtc_avatar.errors import FrameOutOfRange, InvalidRequest, UnknownAvatar
from webrtc_avatar.rpc.casting import Cast, Casting, Counts
from webrtc_avatar.rpc.images import Output, encode
from webrtc_avatar.rpc.lipsync import LipSync

Fields = dict[str, Any]


class Packages:
    """See the module. Lives on the event loop."""

    def __init__(self, lipsync: LipSync, library: Library) -> None:
        self._lipsync = lipsync
        self._library = library

    @property
    def _casting(self) -> Casting:
        return self._lipsync.casting

    async def load_package(self, package_name: str, package_dir: str) -> Fields:
        """Load an avatar, by name or by its folder inside the avatar folders; packages that are new there are found.

        Raises:
            InvalidRequest: neither is given, or the package has another name.
            Forbidden: the folder lies elsewhere.
            UnknownAvatar, InvalidAvatar: there is none, or it is broken.
        """
        started_s = time.monotonic()
        name = package_name
        if package_dir:
            name = await asyncio.to_thread(self._library.named, package_dir)
            if package_name not in ("", name):
                raise InvalidRequest(
                    f"the package in package_dir is called {name!r}, package_name is {package_name[:64]!r}; leave one out"
                )
        elif package_name and self._library.folder(package_name) is None:
            await asyncio.to_thread(self._library.refresh)
        known = name in self._casting.loaded()
        cast = await self._casting.get(name)
        return {
            "success": True,
            "package_name": name,
            "message": "was loaded already" if known else "loaded",
            "initialization_time_ms": round(1000 * (time.monotonic() - started_s)),
            "frame_count": cast.painter.frame_count,
            "device": self._lipsync.engine.runtime_name,
        }

    def list_models(self) -> Fields:
        """Return the avatars whose networks are in memory."""
        loaded = self._casting.loaded()
        return {"loaded_models": loaded, "count": len(loaded)}

    async def get_model_metadata(self, model_name: str) -> Fields:
        """Describe an avatar, loading it if need be.

        Raises:
            InvalidRequest, UnknownAvatar, InvalidAvatar: see `Casting.get`.
        """
        cast = await self._casting.get(model_name)
        painter = cast.painter
        bounds: Bounds = await asyncio.to_thread(painter.bounds, 0)
        return {
            "success": True,
            "model_name": model_name,
            "frame_count": painter.frame_count,
            "available_videos": list(painter.video_types),
            "bounds": list(bounds),
            "width": painter.width,
            "height": painter.height,
            "fps": float(FRAME_RATE_HZ),
            "chunks_before": cast.chunks_before,
            "chunks_after": cast.chunks_after,
        }

    async def get_video_frame(self, model_name: str, frame_id: int, video_type: str) -> Fields:
        """Return a frame of footage as JPEG.

        Raises:
            FrameOutOfRange: the footage has no such frame.
            InvalidRequest: there is no such video.
            UnknownAvatar, InvalidAvatar: see `Casting.get`.
        """
        with self._lipsync.call():
            cast = await self._casting.get(model_name)
            frames = cast.painter.frame_count
            if not 0 <= frame_id < frames:
                raise FrameOutOfRange(
                    f"avatar {model_name!r} has the frames 0 to {frames - 1}; got {frame_id}: a performance goes to and fro "
                    f"on them, so that its frame {frames} is drawn on frame {cast.painter.fold(frames)}"
                )
            data = await self._lipsync.in_thread(_footage, cast, frame_id, video_type)
        return {
            "success": True,
            "frame_data": data,
            "frame_id": frame_id,
            "video_type": video_type or cast.painter.video_types[0],
        }

    def get_stats(self, model_name: str) -> Fields:
        """Return what was rendered of an avatar for calls; all zero before the first frame.

        Raises:
            InvalidRequest: no name.
            UnknownAvatar: no avatar of that name is installed.
        """
        cast = self._casting.known(model_name)
        counts = cast.counts if cast is not None else Counts()
        if cast is None and self._library.folder(model_name) is None:
            installed = ", ".join(info.name for info in self._library.infos()) or "none"
            if not model_name:
                raise InvalidRequest(f"model_name is missing; installed: {installed}")
            raise UnknownAvatar(f"there is no avatar {model_name[:64]!r}; installed: {installed}")
        return {
            "model_name": model_name,
            "total_requests": counts.frames,
            "avg_inference_time_ms": 1000 * counts.total_s / max(counts.rendered, 1),
            "min_inference_time_ms": 1000 * counts.min_s,
            "max_inference_time_ms": 1000 * counts.max_s,
            "frame_count": cast.painter.frame_count if cast is not None else 0,
            "device": self._lipsync.engine.runtime_name,
            "optimizations_active": self._optimizations(model_name),
        }

    def _optimizations(self, name: str) -> list[str]:
        """Return what makes it fast here."""
        engine = self._lipsync.engine
        sizes = [model.batch_limit for model in engine.status().models if model.name == name]
        batches = [f"batches of up to {limit} frames, sized by measured cost" for limit in sizes]
        return [engine.runtime_name, *batches, "one feature row a chunk, windows as views"]

    def health_check(self) -> Fields:
        """Say whether calls are taken."""
        return {
            "healthy": not self._lipsync.draining,
            "status": "DRAINING" if self._lipsync.draining else "SERVING",
            "loaded_models": len(self._casting.loaded()),
            "uptime_seconds": int(self._lipsync.uptime_s),
        }


def _footage(cast: Cast, base: int, video_type: str) -> bytes:
    painter = cast.painter
    if video_type in ("", painter.video_types[0]):
        # As `paint` gives it, so that a face pasted over it fits to the last bit of the colour conversion.
        picture = painter.paint(base, None)
        if cast.watermark is not None:
            picture = cast.watermark.burn(picture, painter.layout)
        image = encode(picture, painter.layout, Output())
    else:
        image = encode(painter.footage(base, video_type), "bgr", Output())
    return cast.marking.in_image(image) if isinstance(cast.avatar, Avatar) else image  # footage was filmed
