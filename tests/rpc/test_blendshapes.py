"""The face as numbers beside the pictures."""

from dataclasses import replace

import grpc
import numpy as np
import pytest

from tests.avatar import footage_parts as parts
from tests.rpc.conftest import refused, request_of
from tests.rpc.test_stream_audio import frames_of, said
from webrtc_avatar.avatar.arkit import ARKIT_NAMES, MOUTH_WEIGHTS, blendshapes, head_degrees
from webrtc_avatar.avatar.painters import painter_of
from webrtc_avatar.client import AsyncLipSyncClient
from webrtc_avatar.client.lipsync_frames import Output
from webrtc_avatar.engine import bulk
from webrtc_avatar.rpc import optimized_lipsyncsrv_pb2 as messages

TOLD = messages.OutputOptions(composition=messages.OutputOptions.FACE_ONLY, blendshapes=True)
JAW = ARKIT_NAMES.index("jawOpen")


async def test_they_are_the_picture_s_own_mouth_eyes_and_head(rpc, engine, library, voice):
    iris = library.get("iris")
    answer = await rpc.stub.GenerateBatchWithAudio(request_of(voice, start=40, count=20, output=TOLD))
    faces = [face async for face in bulk.frames(engine, iris, voice, windowed=True, first_frame=40, frame_count=20)]
    order = [iris.model.weights.index(name) for name in MOUTH_WEIGHTS]
    painter = painter_of(iris)
    for frame, face in zip(answer.responses, faces, strict=True):
        pose = painter.pose(frame.frame_id)
        expected = blendshapes(face.weights[order], replace(pose, smile=0.0))
        assert np.allclose(frame.blendshapes, expected, atol=2e-3)
        assert np.allclose(frame.head_deg, head_degrees(pose), atol=1e-3)
        assert frame.time_s == pytest.approx(frame.frame_id * 0.04)
        assert frame.image_data
    jaw = [frame.blendshapes[JAW] for frame in answer.responses]
    assert max(jaw) - min(jaw) > 0.05


async def test_frames_beyond_the_loop_are_told_as_they_are_drawn_and_timed_as_they_are_numbered(rpc, voice):
    first = await rpc.stub.GenerateBatchWithAudio(request_of(voice[:16], count=1, output=TOLD))
    late = request_of(voice[:16], count=1, output=TOLD)
    late.start_frame_id = 2 * 1_499
    again = await rpc.stub.GenerateBatchWithAudio(late)
    assert np.allclose(first.responses[0].blendshapes, again.responses[0].blendshapes, atol=2e-3)
    assert again.responses[0].time_s == pytest.approx(119.92)


async def test_nobody_gets_them_who_has_not_asked(rpc, voice):
    answer = await rpc.stub.GenerateBatchWithAudio(request_of(voice[:20]))
    assert not any(frame.blendshapes or frame.head_deg or frame.time_s for frame in answer.responses)


async def test_every_way_to_frames_carries_them(rpc, voice):
    window = [chunk.tobytes() for chunk in voice[:16]]
    request = messages.OptimizedInferenceRequest(model_name="iris", frame_id=8, audio_chunks=window, output=TOLD)
    alone = await rpc.stub.GenerateInference(request)
    assert len(alone.blendshapes) == 52
    streamed = rpc.stub.StreamInference(iter([request]))
    assert list((await streamed.read()).blendshapes) == list(alone.blendshapes)
    live = rpc.stub.StreamAudio(iter(said(voice[:10], output=TOLD)))
    assert [len(frame.blendshapes) for frame in await frames_of(live, 10)] == [52] * 10


async def test_an_avatar_that_was_filmed_has_none(start, tmp_path, voice):
    parts.make_footage(tmp_path / "painted", count=12, width=320, height=240)
    rpc = await start(folders=[tmp_path])
    request = request_of(voice[:20], output=TOLD)
    request.model_name = "painted"
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, "'painted' yields no blendshapes"):
        await rpc.stub.GenerateBatchWithAudio(request)
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, "yields no blendshapes"):
        await rpc.stub.GenerateBatchInference(
            messages.BatchInferenceRequest(model_name="painted", frame_ids=[1], output=TOLD)
        )
    live = said(voice[:1], output=TOLD)
    live[0].model_name = "painted"
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, "yields no blendshapes"):
        await frames_of(rpc.stub.StreamAudio(iter(live)), 1)


async def test_the_python_client_hands_them_on(rpc, voice):
    async with AsyncLipSyncClient(rpc.server.address) as client:
        sound = voice[:12].reshape(-1)
        told = [frame async for frame in client.speak(sound, output=Output(blendshapes=True))]
        plain = [frame async for frame in client.speak(sound)]
    assert [frame.blendshapes.shape for frame in told] == [(52,)] * 12
    assert [frame.head_deg.shape for frame in told] == [(3,)] * 12
    assert [frame.time_s for frame in told] == pytest.approx([0.04 * number for number in range(12)])
    assert {frame.blendshapes is None and frame.head_deg is None and frame.time_s is None for frame in plain} == {True}
