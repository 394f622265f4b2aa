"""A client of the batched lip-sync service: sound in, frames out, in order and with flat memory.

    async with AsyncLipSyncClient("127.0.0.1:50051") as client:
        async for frame in client.speak("speech.mp3", "iris"):
            Path(f"{frame.frame_id:06}.jpg").write_bytes(frame.image)

`LipSyncClient` in `client.lipsync_sync` is the same without asyncio. Source: the seed documents' client (pad, chunk, calls of 250 frames, at
most three at a time).
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any, Self, TypeVar

import grpc

from webrtc_avatar.audio.chunk import Samples
from webrtc_avatar.audio.window import Chunks, to_bytes
from webrtc_avatar.client.lipsync_failures import WORTH_RETRYING, AnswerTooLarge, CallFailed, failure_of
from webrtc_avatar.client.lipsync_frames import (
    JPEG,
    AudioEncoding,
    LipSyncFrame,
    Metadata,
    Output,
    Piece,
    Sound,
    chunks_of,
    encoded,
    encoding_of,
    frame_of,
    metadata_of,
    pieces,
)
from webrtc_avatar.client.lipsync_live import LiveLipSync
from webrtc_avatar.rpc import optimized_lipsyncsrv_pb2 as messages
from webrtc_avatar.rpc import optimized_lipsyncsrv_pb2_grpc as wire

FRAMES_A_CALL = 250
CALLS_AT_A_TIME = 3
_MESSAGE_BYTES = 50 * 1024 * 1024
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 4.0

Progress = Callable[[int, int | None], None]
"""Is told how many frames have come, and how many there will be, where that is known."""

Answer = TypeVar("Answer")


class AsyncLipSyncClient:
    """One connection to a server, for any number of calls at a time. An async context manager.

    Args:
        address: `host:port` of its gRPC service.
        token: what the server's setting `token` says.
        tls: encrypt: True trusts the system's certificates, a path the PEM certificate that it names.
        timeout_s: how long a call may take.
        retries: how often a call is made again that found nobody, or a server that was full; with growing pauses, about eight
            seconds for 5.
        frames_a_call: frames of one call.
        calls_at_a_time: calls of one `speak` or `frames` that are under way.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:50051",
        *,
        token: str | None = None,
        tls: bool | Path | str = False,
        timeout_s: float = 300.0,
        retries: int = 5,
        frames_a_call: int = FRAMES_A_CALL,
        calls_at_a_time: int = CALLS_AT_A_TIME,
    ) -> None:
        self.address = address
        self._frames_a_call, self._calls_at_a_time = frames_a_call, calls_at_a_time
        self._timeout_s, self._retries = timeout_s, retries
        self._metadata = (("authorization", f"Bearer {token}"),) if token else None
        options = [
            ("grpc.max_receive_message_length", _MESSAGE_BYTES),
            ("grpc.max_send_message_length", _MESSAGE_BYTES),
            # gRPC's own pauses grow to two minutes, longer than anybody waits for a server that starts again.
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 1_000),
        ]
        if tls is False:
            self._channel = grpc.aio.insecure_channel(address, options=options)
        else:
            roots = None if tls is True else Path(tls).read_bytes()
            self._channel = grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(roots), options=options)
        self._stub: Any = wire.OptimizedLipSyncServiceStub(self._channel)  # type: ignore[no-untyped-call]
        # By avatar and output, once an answer was too large.
        self._most_frames: dict[tuple[str, Output], int] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End all calls and hang up; calling it twice is fine."""
        await self._channel.close()

    async def speak(
        self,
        sound: Sound,
        model: str = "iris",
        *,
        output: Output = JPEG,
        start_frame: int = 0,
        encoding: AudioEncoding = "float32",
        progress: Progress | None = None,
    ) -> AsyncGenerator[LipSyncFrame, None]:
        """Yield a frame for each 40 ms of a sound, in order.

        The sound is read, sent and answered piece by piece, so that an hour of it takes no more memory than a minute. Leaving the
        generator ends its calls, on the server as well.

        Args:
            sound: a file of any kind, or samples.
            model: the avatar.
            output: what the frames shall be.
            start_frame: number of the frame that the sound begins with.
            encoding: of the sound on the wire; `int16` is half as much.
            progress: is told of each call's frames.

        Raises:
            UnreadableSound: the file holds no sound.
            CallRefused: there is no such avatar, or it cannot be rendered; other `CallFailed`: see there.
        """
        chunks, total = await asyncio.to_thread(chunks_of, sound)
        cut = pieces((encoded(samples, encoding) for samples in chunks), frames_each=self._frames_a_call)

        async def answer(piece: Piece) -> list[LipSyncFrame]:
            return await self._piece(piece, model, output, start_frame, encoding)

        async with aclosing(self._in_order(cut, answer, progress, total)) as frames:
            async for frame in frames:
                yield frame

    async def frames(
        self,
        ids: Sequence[int],
        model: str,
        *,
        output: Output = JPEG,
        progress: Progress | None = None,
    ) -> AsyncGenerator[LipSyncFrame, None]:
        """Yield frames by number, in this order, from the features that the avatar's package brings.

        One that there is not has an `error`, and harms no other.

        Raises:
            CallRefused: the avatar has no features, or there is none of that name.
        """
        cut = (ids[first : first + self._frames_a_call] for first in range(0, len(ids), self._frames_a_call))

        async def answer(some: Sequence[int]) -> list[LipSyncFrame]:
            return await self._some(some, model, output)

        async with aclosing(self._in_order(cut, answer, progress, len(ids))) as frames:
            async for frame in frames:
                yield frame

    async def frame(
        self,
        frame_id: int,
        model: str,
        *,
        window: Chunks | None = None,
        output: Output = JPEG,
    ) -> LipSyncFrame:
        """Return one frame: of 16 chunks of sound, float32 (16, 640), or by number as `frames`.

        Raises:
            CallRefused: as for `frames`; or the window does not have 16 chunks.
        """
        request = messages.OptimizedInferenceRequest(
            model_name=model,
            frame_id=frame_id,
            audio_chunks=() if window is None else to_bytes(window),
            output=output.message(),
        )
        return frame_of(await self._call(self._stub.GenerateInference, request), output.format)

    def live(
        self,
        model: str = "iris",
        *,
        output: Output = JPEG,
        encoding: AudioEncoding = "float32",
    ) -> LiveLipSync:
        """Return a conversation: sound goes in as it comes, frames come out as soon as they can be made."""
        call = self._stub.StreamAudio(metadata=self._metadata)
        return LiveLipSync(call, self.address, model=model, output=output, encoding=encoding)

    async def stream_audio(
        self,
        sound: AsyncIterable[Samples] | Iterable[Samples],
        model: str = "iris",
        *,
        output: Output = JPEG,
        encoding: AudioEncoding = "float32",
    ) -> AsyncGenerator[LipSyncFrame, None]:
        """Yield the frames of sound as it comes, float32 of any length, mono, 16 kHz; each when the 7 chunks behind it have come.

        Raises:
            CallFailed: the server ended the conversation.
        """
        async with self.live(model, output=output, encoding=encoding) as live:
            sender = asyncio.create_task(_send(live, sound))
            # A sender that fails would leave the iteration waiting for ever.
            sender.add_done_callback(lambda done: live.cancel() if not done.cancelled() and done.exception() else None)
            try:
                async for frame in live:
                    yield frame
                await sender
            except (CallFailed, asyncio.CancelledError):
                if sender.done() and not sender.cancelled() and (cause := sender.exception()) is not None:
                    raise cause from None
                raise
            finally:
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)

    async def metadata(self, model: str) -> Metadata:
        """Return what the server says of an avatar; it is loaded if it was not.

        Raises:
            CallRefused: there is none of that name.
        """
        request = messages.GetModelMetadataRequest(model_name=model)
        return metadata_of(await self._call(self._stub.GetModelMetadata, request))

    async def models(self) -> list[str]:
        """Return the names of the avatars that are loaded."""
        return list((await self._call(self._stub.ListModels, messages.ListModelsRequest())).loaded_models)

    async def load(self, package: str, folder: str = "") -> messages.LoadPackageResponse:
        """Load an avatar, so that its first frame does not wait for it."""
        request = messages.LoadPackageRequest(package_name=package, package_dir=folder)
        response: messages.LoadPackageResponse = await self._call(self._stub.LoadPackage, request)
        if not response.success:
            raise CallFailed(response.error or f"the server could not load {package!r}")
        return response

    async def footage(self, frame_id: int, model: str, video: str = "") -> bytes:
        """Return a frame of an avatar's footage as JPEG: of one of `Metadata.videos`, or the whole frame."""
        request = messages.GetVideoFrameRequest(model_name=model, frame_id=frame_id, video_type=video)
        response: messages.GetVideoFrameResponse = await self._call(self._stub.GetVideoFrame, request)
        if not response.success:
            raise CallFailed(response.error or f"the server has no frame {frame_id} of {model!r}")
        return response.frame_data

    async def stats(self, model: str = "") -> messages.StatsResponse:
        """Return the server's figures of an avatar."""
        response: messages.StatsResponse = await self._call(
            self._stub.GetStats, messages.StatsRequest(model_name=model)
        )
        return response

    async def health(self) -> messages.HealthResponse:
        """Return whether the server takes calls."""
        response: messages.HealthResponse = await self._call(self._stub.HealthCheck, messages.HealthRequest())
        return response

    async def _call(self, method: Callable[..., Awaitable[Answer]], request: Any) -> Answer:
        """Make a call, again where that may help."""
        for tried in range(self._retries + 1):
            try:
                return await method(request, timeout=self._timeout_s, metadata=self._metadata)
            except grpc.aio.AioRpcError as error:
                failure = failure_of(error, self.address)
                if not isinstance(failure, WORTH_RETRYING) or tried == self._retries:
                    raise (failure.after(tried + 1) if tried else failure) from error
            pause_s = min(_FIRST_PAUSE_S * 2**tried, _LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))
        raise AssertionError("unreachable")

    async def _piece(
        self, piece: Piece, model: str, output: Output, start_frame: int, encoding: AudioEncoding
    ) -> list[LipSyncFrame]:
        key = (model, output)
        if piece.frame_count <= self._most_frames.get(key, piece.frame_count):
            request = messages.BatchInferenceWithAudioRequest(
                model_name=model,
                start_frame_id=start_frame + piece.first,
                frame_count=piece.frame_count,
                audio_chunks=piece.chunks,
                audio_encoding=encoding_of(encoding),
                output=output.message(),
            )
            try:
                response = await self._call(self._stub.GenerateBatchWithAudio, request)
                return [frame_of(each, output.format) for each in response.responses]
            except AnswerTooLarge:
                if piece.frame_count == 1:
                    raise
                self._most_frames[key] = piece.frame_count // 2
        near, far = piece.halves()
        return [
            *await self._piece(near, model, output, start_frame, encoding),
            *await self._piece(far, model, output, start_frame, encoding),
        ]

    async def _some(self, ids: Sequence[int], model: str, output: Output) -> list[LipSyncFrame]:
        key = (model, output)
        if len(ids) <= self._most_frames.get(key, len(ids)):
            request = messages.BatchInferenceRequest(model_name=model, frame_ids=ids, output=output.message())
            try:
                response = await self._call(self._stub.GenerateBatchInference, request)
                return [frame_of(each, output.format) for each in response.responses]
            except AnswerTooLarge:
                if len(ids) == 1:
                    raise
                self._most_frames[key] = len(ids) // 2
        half = len(ids) // 2
        return [*await self._some(ids[:half], model, output), *await self._some(ids[half:], model, output)]

    async def _in_order(
        self,
        cut: Iterator[Any],
        answer: Callable[[Any], Coroutine[Any, Any, list[LipSyncFrame]]],
        progress: Progress | None,
        total: int | None,
    ) -> AsyncGenerator[LipSyncFrame, None]:
        """Make calls, some at a time, and yield their frames in order."""
        loop = asyncio.get_running_loop()
        reader = ThreadPoolExecutor(1, thread_name_prefix="lipsync-read")
        calls: deque[asyncio.Task[list[LipSyncFrame]]] = deque()
        came, more = 0, True

        async def fill() -> None:
            nonlocal more
            while more and len(calls) < self._calls_at_a_time:
                piece = await loop.run_in_executor(reader, next, cut, None)
                more = piece is not None
                if more:
                    calls.append(asyncio.create_task(answer(piece)))

        try:
            await fill()
            while calls:
                frames = await calls[0]
                calls.popleft()
                await fill()
                came += len(frames)
                if progress is not None:
                    progress(came, came if not calls else total)
                for frame in frames:
                    yield frame
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            reader.shutdown(wait=False, cancel_futures=True)


async def _send(live: LiveLipSync, sound: AsyncIterable[Samples] | Iterable[Samples]) -> None:
    if isinstance(sound, AsyncIterable):
        async for samples in sound:
            await live.send(samples)
    else:
        source = iter(sound)
        while (some := await asyncio.to_thread(_next, source)) is not None:
            await live.send(some)
    await live.finish()


def _next(source: Iterator[Samples]) -> Samples | None:
    return next(source, None)
