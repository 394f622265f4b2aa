"""The contract's methods: messages in, the service's answers out. What they do is in `rpc.lipsync` and its neighbours."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc

from webrtc_avatar.errors import AvatarServerError, ResponseTooLarge
from webrtc_avatar.rpc import optimized_lipsyncsrv_pb2 as messages
from webrtc_avatar.rpc.audio_stream import AudioMessage, stream_audio
from webrtc_avatar.rpc.errors import answered, streamed
from webrtc_avatar.rpc.frame import Frame, frame_fields
from webrtc_avatar.rpc.images import Composition, Output
from webrtc_avatar.rpc.lipsync import LipSync
from webrtc_avatar.rpc.packages import Packages
from webrtc_avatar.rpc.pipeline import in_order
from webrtc_avatar.rpc.sound import Encoding

Context: TypeAlias = grpc.aio.ServicerContext

_STREAM_AHEAD = 32
"""Requests of one StreamInference call that are worked on at a time."""


class Service:
    """The servicer of `OptimizedLipSyncService`.

    Args:
        lipsync: renders.
        packages: describes.
        max_message_bytes: what a message may hold.
    """

    def __init__(self, lipsync: LipSync, packages: Packages, *, max_message_bytes: int) -> None:
        self._lipsync = lipsync
        self._packages = packages
        self._max_message_bytes = max_message_bytes

    async def GenerateInference(  # noqa: N802
        self, request: messages.OptimizedInferenceRequest, context: Context
    ) -> messages.OptimizedInferenceResponse:
        """Answer one frame."""
        return await answered(context, self._only_one(request))

    async def GenerateBatchInference(  # noqa: N802
        self, request: messages.BatchInferenceRequest, context: Context
    ) -> messages.BatchInferenceResponse:
        """Answer frames in the order of their ids."""
        return await answered(context, self._batch(request))

    async def GenerateBatchWithAudio(  # noqa: N802
        self, request: messages.BatchInferenceWithAudioRequest, context: Context
    ) -> messages.BatchInferenceResponse:
        """Answer consecutive frames of a piece of sound."""
        return await answered(context, self._batch_with_audio(request))

    async def StreamInference(  # noqa: N802
        self, requests: AsyncIterator[messages.OptimizedInferenceRequest], context: Context
    ) -> AsyncGenerator[messages.OptimizedInferenceResponse, None]:
        """Answer single frames in the order of their requests; what is wrong with one is in its own answer."""

        async def answers() -> AsyncGenerator[messages.OptimizedInferenceResponse, None]:
            with self._lipsync.call():
                async with aclosing(in_order(requests, self._one_alone, ahead=_STREAM_AHEAD)) as made:
                    async for response in made:
                        yield response

        async with aclosing(streamed(context, answers())) as responses:
            async for response in responses:
                yield response

    async def StreamAudio(  # noqa: N802
        self, requests: AsyncIterator[messages.StreamAudioRequest], context: Context
    ) -> AsyncGenerator[messages.OptimizedInferenceResponse, None]:
        """Answer the frames of live sound."""

        async def heard() -> AsyncGenerator[AudioMessage, None]:
            async for request in requests:
                yield AudioMessage(
                    model_name=request.model_name,
                    audio=request.audio,
                    encoding=Encoding.of(request.audio_encoding),
                    end=request.end,
                    interrupt=request.interrupt,
                    output=_output(request.output),
                )

        async def spoken() -> AsyncGenerator[messages.OptimizedInferenceResponse, None]:
            with self._lipsync.call():
                async with aclosing(stream_audio(self._lipsync, heard())) as frames:
                    async for frame in frames:
                        yield _response(frame)

        async with aclosing(streamed(context, spoken())) as responses:
            async for response in responses:
                yield response

    async def LoadPackage(  # noqa: N802
        self, request: messages.LoadPackageRequest, context: Context
    ) -> messages.LoadPackageResponse:
        """Load an avatar."""
        fields = await answered(context, self._packages.load_package(request.package_name, request.package_dir))
        return messages.LoadPackageResponse(**fields)

    async def ListModels(  # noqa: N802
        self, request: messages.ListModelsRequest, context: Context
    ) -> messages.ListModelsResponse:
        """Name the avatars that are loaded."""
        return messages.ListModelsResponse(**self._packages.list_models())

    async def GetModelMetadata(  # noqa: N802
        self, request: messages.GetModelMetadataRequest, context: Context
    ) -> messages.GetModelMetadataResponse:
        """Describe an avatar."""
        fields = await answered(context, self._packages.get_model_metadata(request.model_name))
        return messages.GetModelMetadataResponse(**fields)

    async def GetVideoFrame(  # noqa: N802
        self, request: messages.GetVideoFrameRequest, context: Context
    ) -> messages.GetVideoFrameResponse:
        """Show a frame of footage."""
        shown = self._packages.get_video_frame(request.model_name, request.frame_id, request.video_type)
        return messages.GetVideoFrameResponse(**await answered(context, shown))

    async def GetStats(self, request: messages.StatsRequest, context: Context) -> messages.StatsResponse:  # noqa: N802
        """Tell what was rendered of an avatar."""

        async def told() -> dict[str, Any]:
            return self._packages.get_stats(request.model_name)

        return messages.StatsResponse(**await answered(context, told()))

    async def HealthCheck(self, request: messages.HealthRequest, context: Context) -> messages.HealthResponse:  # noqa: N802
        """Say whether calls are taken."""
        return messages.HealthResponse(**self._packages.health_check())

    async def _only_one(self, request: messages.OptimizedInferenceRequest) -> messages.OptimizedInferenceResponse:
        with self._lipsync.call():
            return await self._one(request)

    async def _one(self, request: messages.OptimizedInferenceRequest) -> messages.OptimizedInferenceResponse:
        frame = await self._lipsync.inference(
            request.model_name, request.frame_id, request.audio_chunks, _output(request.output)
        )
        return _response(frame)

    async def _one_alone(self, request: messages.OptimizedInferenceRequest) -> messages.OptimizedInferenceResponse:
        try:
            return await self._one(request)
        except AvatarServerError as error:
            return _response(Frame(request.frame_id, error=error))

    async def _batch(self, request: messages.BatchInferenceRequest) -> messages.BatchInferenceResponse:
        output = _output(request.output)
        with self._lipsync.call():
            await self._check_size(request.model_name, output, len(request.frame_ids))
            return await self._collect(self._lipsync.batch(request.model_name, request.frame_ids, output))

    async def _batch_with_audio(
        self, request: messages.BatchInferenceWithAudioRequest
    ) -> messages.BatchInferenceResponse:
        output, encoding = _output(request.output), Encoding.of(request.audio_encoding)
        frames = self._lipsync.batch_with_audio(
            request.model_name, request.start_frame_id, request.frame_count, request.audio_chunks, encoding, output
        )
        with self._lipsync.call():
            await self._check_size(request.model_name, output, request.frame_count)
            return await self._collect(frames)

    async def _collect(self, frames: AsyncGenerator[Frame, None]) -> messages.BatchInferenceResponse:
        """Gather frames into one answer, each handed over to it as it comes."""
        started_s = time.monotonic()
        response, size = messages.BatchInferenceResponse(), 0
        async with aclosing(frames):
            async for frame in frames:
                size += len(frame.image) + (256 if frame.shapes is None else 512)
                if size > self._max_message_bytes:
                    raise ResponseTooLarge(
                        f"the answer grew beyond {self._max_message_bytes} bytes, the limit of a message, at frame "
                        f"{frame.frame_id}, the {len(response.responses) + 1}th: ask for fewer frames at a time, for JPEG, or for "
                        "FACE_ONLY"
                    )
                response.responses.add(image_data=frame.image, **frame_fields(frame))
        total_ms = 1000 * (time.monotonic() - started_s)
        response.total_processing_time_ms = round(total_ms)
        response.avg_frame_time_ms = total_ms / max(len(response.responses), 1)
        return response

    async def _check_size(self, name: str, output: Output, count: int) -> None:
        """Refuse at once what is known not to fit into one message."""
        if output.raw_bytes(1, 1) is None or count < 1:
            return
        painter = (await self._lipsync.casting.get(name)).painter
        left, top, right, bottom = (0, 0, painter.width, painter.height)
        if output.composition is Composition.FACE_ONLY:
            left, top, right, bottom = painter.bounds(0)
        each = (output.raw_bytes(right - left, bottom - top) or 0) + 256
        if count * each > self._max_message_bytes:
            raise ResponseTooLarge(
                f"{count} frames of {right - left}x{bottom - top} pixels as {output.format.name} take {count * each} bytes, and a "
                f"message holds {self._max_message_bytes}: ask for at most {self._max_message_bytes // each} at a time, or for JPEG"
            )


def _response(frame: Frame) -> messages.OptimizedInferenceResponse:
    return messages.OptimizedInferenceResponse(image_data=frame.image, **frame_fields(frame))


def _output(output: messages.OutputOptions) -> Output:
    return Output.of(output.composition, output.format, output.jpeg_quality, blendshapes=output.blendshapes)
