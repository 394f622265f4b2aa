"""Lip-sync of avatars that were filmed, from sound and from the features that their packages bring."""

import grpc
import numpy as np
import pytest

from tests.avatar import footage_parts as parts
from tests.rpc.conftest import picture, refused, request_of
from webrtc_avatar.rpc import optimized_lipsyncsrv_pb2 as messages

WIDTH, HEIGHT, COUNT = 320, 240, 12
KINDS = messages.OutputOptions
RAW = KINDS(format=KINDS.RAW_BGR)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("avatars")
    parts.make_footage(folder / "painted", count=COUNT, width=WIDTH, height=HEIGHT)
    return folder


@pytest.fixture
async def rpc(start, folder):
    return await start(folders=[folder])


def pixels(frame):
    return np.frombuffer(frame.image_data, np.uint8).reshape(frame.height, frame.width, 3)


async def batch(rpc, ids, output=RAW):
    request = messages.BatchInferenceRequest(model_name="painted", frame_ids=ids, output=output)
    return (await rpc.stub.GenerateBatchInference(request)).responses


async def test_frames_of_its_own_features_come_in_the_order_asked_for(rpc):
    ids = [7, 0, 11, 3]
    frames = await batch(rpc, ids)
    assert [frame.frame_id for frame in frames] == ids
    for frame in frames:
        assert (frame.width, frame.height) == (WIDTH, HEIGHT)
        assert tuple(frame.bounds) == parts.box(frame.frame_id, WIDTH, HEIGHT)
        left, top, right, bottom = frame.bounds
        filmed, made = parts.picture(frame.frame_id, WIDTH, HEIGHT), pixels(frame)
        assert np.abs(made[top:bottom, left:right].astype(int) - filmed[top:bottom, left:right]).mean() > 10
        made = made.copy()
        made[top:bottom, left:right] = filmed[top:bottom, left:right]
        assert np.array_equal(made, filmed)


async def test_an_id_that_the_features_lack_fails_alone(rpc):
    frames = await batch(rpc, [1, COUNT, 2, -1])
    assert [frame.success for frame in frames] == [True, False, True, False]
    assert f"0 to {COUNT - 1}" in frames[1].error
    async with refused(grpc.StatusCode.OUT_OF_RANGE, f"0 to {COUNT - 1}"):
        await rpc.stub.GenerateInference(messages.OptimizedInferenceRequest(model_name="painted", frame_id=COUNT))


async def test_a_single_frame_and_a_stream_are_those_of_the_batch(rpc):
    ids = [5, 2, 9]
    frames = await batch(rpc, ids)
    requests = [messages.OptimizedInferenceRequest(model_name="painted", frame_id=n, output=RAW) for n in ids]
    streamed = [frame async for frame in rpc.stub.StreamInference(iter(requests))]
    for request, frame, other in zip(requests, frames, streamed, strict=True):
        alone = await rpc.stub.GenerateInference(request)
        for again in (alone, other):
            assert again.frame_id == frame.frame_id
            assert np.abs(pixels(again).astype(int) - pixels(frame)).max() <= 1


async def test_a_face_alone_is_what_the_frame_has_there(rpc):
    face_only = KINDS(format=KINDS.RAW_BGR, composition=KINDS.FACE_ONLY)
    for whole, face in zip(await batch(rpc, [0, 6]), await batch(rpc, [0, 6], face_only), strict=True):
        left, top, right, bottom = face.bounds
        assert (face.width, face.height) == (right - left, bottom - top)
        assert np.abs(pixels(face).astype(int) - pixels(whole)[top:bottom, left:right]).max() <= 1


async def test_sound_longer_than_the_footage_is_drawn_to_and_fro(rpc, voice, monkeypatch):
    model = rpc.lipsync.engine.load((await rpc.lipsync.casting.get("painted")).avatar).result()
    render, bases = model.render, set()

    def watched(jobs):
        bases.update(job.base for job in jobs)
        return render(jobs)

    monkeypatch.setattr(model, "render", watched)
    request = request_of(voice[:30], output=KINDS(composition=KINDS.FULL_FRAME))
    request.model_name = "painted"
    frames = (await rpc.stub.GenerateBatchWithAudio(request)).responses
    assert all(frame.success for frame in frames)
    assert bases == set(range(COUNT))
    for number, base in ((0, 0), (11, 11), (12, 10), (21, 1), (22, 0), (23, 1)):
        assert tuple(frames[number].bounds) == parts.box(base, WIDTH, HEIGHT)
        corner = picture(frames[number].image_data)[:40].astype(int)
        assert np.abs(corner - parts.picture(base, WIDTH, HEIGHT)[:40]).mean() < 3


async def test_its_videos_are_shown(rpc):
    described = await rpc.stub.GetModelMetadata(messages.GetModelMetadataRequest(model_name="painted"))
    assert (described.frame_count, described.width, described.height) == (COUNT, WIDTH, HEIGHT)
    assert list(described.available_videos) == ["full_body", "crops_168", "rois_160", "model_inputs"]
    shapes = {"full_body": (HEIGHT, WIDTH), "crops_168": (168, 168), "rois_160": (160, 160), "model_inputs": (160, 160)}
    for video, shape in shapes.items():
        shown = await rpc.stub.GetVideoFrame(
            messages.GetVideoFrameRequest(model_name="painted", frame_id=4, video_type=video)
        )
        assert picture(shown.frame_data).shape == (*shape, 3)
