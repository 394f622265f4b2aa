"""One conversation with the lip-sync service: live sound in, frames out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Self

import grpc

from webrtc_avatar.audio.chunk import SAMPLE_RATE_HZ, Samples
from webrtc_avatar.client.lipsync_failures import failure_of
from webrtc_avatar.client.lipsync_frames import (
    AudioEncoding,
    LipSyncFrame,
    Output,
    encoded,
    encoding_of,
    frame_of,
)
from webrtc_avatar.errors import InvalidAudio
from webrtc_avatar.rpc import optimized_lipsyncsrv_pb2 as messages


class LiveLipSync:
    """An async context manager and an async iterator of frames; sending and iterating go on at the same time.

        async with client.live("iris") as live:
            sender = asyncio.create_task(send_microphone(live))
            async for frame in live: ...

    Frame n belongs to the n-th 40 ms of all the sound that was sent, and comes when the 7 chunks behind it have.
    """

    def __init__(self, call: Any, address: str, *, model: str, output: Output, encoding: AudioEncoding) -> None:
        self._call, self._address = call, address
        self._output, self._encoding = output, encoding
        self._first: dict[str, Any] = {"model_name": model, "output": output.message()}
        self._done = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cancel()

    def cancel(self) -> None:
        """Hang up at once; what waits on the server is dropped."""
        self._call.cancel()

    async def send(self, samples: Samples) -> None:
        """Send sound of any length, float32 (n,), mono, 16 kHz, -1..1. Waits while the server has a minute of it unheard.

        Raises:
            InvalidAudio: another shape or type.
            CallFailed: the server ended the conversation.
        """
        if samples.ndim != 1 or samples.dtype != "float32":
            raise InvalidAudio(
                f"live sound is float32 of one channel at {SAMPLE_RATE_HZ} Hz; got {samples.dtype} {samples.shape}"
            )
        await self._write(audio=encoded(samples, self._encoding))

    async def end(self) -> None:
        """End an utterance: its last frames come at once. The next sound begins another."""
        await self._write(end=True)

    async def interrupt(self) -> None:
        """Drop the sound and the frames that wait. The next sound begins another utterance."""
        await self._write(interrupt=True)

    async def finish(self) -> None:
        """Send nothing more: after the frames that are left the iteration ends."""
        if not self._done:
            self._done = True
            if self._first:
                await self._write()
            await self._call.done_writing()

    async def __aiter__(self) -> AsyncIterator[LipSyncFrame]:
        try:
            async for response in self._call:
                yield frame_of(response, self._output.format)
        except grpc.aio.AioRpcError as error:
            raise failure_of(error, self._address) from error

    async def _write(self, **fields: Any) -> None:
        first, self._first = self._first, {}
        request = messages.StreamAudioRequest(audio_encoding=encoding_of(self._encoding), **first, **fields)
        try:
            await self._call.write(request)
        except grpc.aio.AioRpcError as error:
            raise failure_of(error, self._address) from error
