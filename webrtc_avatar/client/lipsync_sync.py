"""The lip-sync client for programs without asyncio: `AsyncLipSyncClient` on a thread of its own.

with LipSyncClient("127.0.0.1:50051") as client:
    for frame in client.speak("speech.mp3", "iris"):
        Path(f"{frame.frame_id:06}.jpg").write_bytes(frame.image)
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Iterable, Iterator, Sequence
from typing import Any, Self, TypeVar

from webrtc_avatar.audio.chunk import Samples
from webrtc_avatar.audio.window import Chunks
from webrtc_avatar.client.lipsync import AsyncLipSyncClient, Progress
from webrtc_avatar.client.lipsync_frames import JPEG, AudioEncoding, LipSyncFrame, Metadata, Output, Sound
from webrtc_avatar.rpc import optimized_lipsyncsrv_pb2 as messages

Result = TypeVar("Result")


class LipSyncClient:
    """One connection to a server; any thread may call. A context manager.

    Takes what `AsyncLipSyncClient` takes, and every method does, returns and raises what its twin there does. Iterators are for one
    thread each; leaving one (`close`, or dropping it) ends its calls. `progress` is called on the thread that iterates.
    """

    def __init__(self, address: str = "127.0.0.1:50051", **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lipsync-client", daemon=True)
        self._thread.start()

        async def connect() -> AsyncLipSyncClient:
            return AsyncLipSyncClient(address, **options)

        try:
            self._client = self._run(connect())
        except BaseException:
            self._stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all calls and hang up; calling it twice is fine."""
        if self._thread.is_alive():
            self._run(self._client.aclose())
            self._stop()

    def speak(
        self,
        sound: Sound,
        model: str = "iris",
        *,
        output: Output = JPEG,
        start_frame: int = 0,
        encoding: AudioEncoding = "float32",
        progress: Progress | None = None,
    ) -> Iterator[LipSyncFrame]:
        """Yield a frame for each 40 ms of a sound; see `AsyncLipSyncClient.speak`."""
        told: deque[tuple[int, int | None]] = deque()
        frames = self._client.speak(
            sound, model, output=output, start_frame=start_frame, encoding=encoding, progress=_noting(told)
        )
        return self._each(frames, told, progress)

    def frames(
        self,
        ids: Sequence[int],
        model: str,
        *,
        output: Output = JPEG,
        progress: Progress | None = None,
    ) -> Iterator[LipSyncFrame]:
        """Yield frames by number; see `AsyncLipSyncClient.frames`."""
        told: deque[tuple[int, int | None]] = deque()
        return self._each(self._client.frames(ids, model, output=output, progress=_noting(told)), told, progress)

    def stream_audio(
        self,
        sound: Iterable[Samples],
        model: str = "iris",
        *,
        output: Output = JPEG,
        encoding: AudioEncoding = "float32",
    ) -> Iterator[LipSyncFrame]:
        """Yield the frames of live sound as they come; see `AsyncLipSyncClient.stream_audio`."""
        frames = self._client.stream_audio(sound, model, output=output, encoding=encoding)
        return self._each(frames, deque(), None)

    def frame(
        self,
        frame_id: int,
        model: str,
        *,
        window: Chunks | None = None,
        output: Output = JPEG,
    ) -> LipSyncFrame:
        """Return one frame; see `AsyncLipSyncClient.frame`."""
        return self._run(self._client.frame(frame_id, model, window=window, output=output))

    def metadata(self, model: str) -> Metadata:
        """Return what the server says of an avatar."""
        return self._run(self._client.metadata(model))

    def models(self) -> list[str]:
        """Return the names of the avatars that are loaded."""
        return self._run(self._client.models())

    def load(self, package: str, folder: str = "") -> messages.LoadPackageResponse:
        """Load an avatar, so that its first frame does not wait for it."""
        return self._run(self._client.load(package, folder))

    def footage(self, frame_id: int, model: str, video: str = "") -> bytes:
        """Return a frame of an avatar's footage as JPEG."""
        return self._run(self._client.footage(frame_id, model, video))

    def stats(self, model: str = "") -> messages.StatsResponse:
        """Return the server's figures of an avatar."""
        return self._run(self._client.stats(model))

    def health(self) -> messages.HealthResponse:
        """Return whether the server takes calls."""
        return self._run(self._client.health())

    def _each(
        self, frames: AsyncGenerator[LipSyncFrame, None], told: deque[tuple[int, int | None]], progress: Progress | None
    ) -> Iterator[LipSyncFrame]:
        async def after() -> LipSyncFrame | None:
            return await anext(frames, None)

        try:
            while (frame := self._run(after())) is not None:
                while told:
                    news = told.popleft()
                    if progress is not None:
                        progress(*news)
                yield frame
        finally:
            if self._thread.is_alive():
                self._run(_close(frames))

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _noting(told: deque[tuple[int, int | None]]) -> Progress:
    return lambda came, total: told.append((came, total))


async def _close(frames: AsyncGenerator[LipSyncFrame, None]) -> None:
    """Close a generator that may still be leaving a step that was cancelled."""
    while True:
        try:
            return await frames.aclose()
        except RuntimeError:
            await asyncio.sleep(0.01)
