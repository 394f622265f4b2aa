"""A face of a photo over gRPC, as any other drawn avatar."""

import grpc
import numpy as np
import pytest

from tests.avatar.portrait_parts import IRIS, astronaut_photo
from tests.rpc.conftest import picture, refused, request_of
from webrtc_avatar.audio.decode import read
from webrtc_avatar.avatar.arkit import ARKIT_NAMES
from webrtc_avatar.avatar.face_finder import find_face
from webrtc_avatar.avatar.package import load_avatar
from webrtc_avatar.avatar.portrait import PortraitOptions, create_portrait
from webrtc_avatar.avatar.portrait_lips import measure
from webrtc_avatar.rpc import optimized_lipsyncsrv_pb2 as messages

JAW = ARKIT_NAMES.index("jawOpen")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("avatars")
    create_portrait(astronaut_photo(), PortraitOptions(folder, "eileen", "Eileen"), load_avatar(IRIS))
    return folder


@pytest.fixture
async def rpc(start, folder):
    return await start(folders=[folder])


def asked(voice, output=None, **fields):
    request = request_of(voice, output=output, **fields)
    request.model_name = "eileen"
    return request


async def test_it_is_loaded_listed_and_described(rpc):
    loaded = await rpc.stub.LoadPackage(messages.LoadPackageRequest(package_name="eileen"))
    assert loaded.success
    assert "eileen" in (await rpc.stub.ListModels(messages.ListModelsRequest())).loaded_models
    told = await rpc.stub.GetModelMetadata(messages.GetModelMetadataRequest(model_name="eileen"))
    assert told.success
    assert (told.width, told.height, told.fps, told.frame_count) == (512, 512, 25.0, 1500)
    assert list(told.available_videos) == ["full_body"]
    shown = await rpc.stub.GetVideoFrame(messages.GetVideoFrameRequest(model_name="eileen", frame_id=0))
    assert picture(shown.frame_data).shape == (512, 512, 3)


async def test_its_lips_part_as_far_as_its_blendshapes_say(rpc, speech_folder):
    said = read(sorted(speech_folder.glob("*.wav"))[0])[: 100 * 640].reshape(-1, 640)
    sound = np.concatenate((np.zeros_like(said[:25]), said))
    told = messages.OutputOptions(blendshapes=True)
    answer = await rpc.stub.GenerateBatchWithAudio(asked(sound, told))
    assert {len(frame.blendshapes) for frame in answer.responses} == {52}
    gaps = np.array([measure(find_face(picture(frame.image_data)).landmarks)[0].gap for frame in answer.responses])
    jaw = np.array([frame.blendshapes[JAW] for frame in answer.responses])
    assert gaps[:20].max() < 0.12, "it is silent at first"
    assert gaps.max() > 0.3
    assert jaw.max() > 0.2
    assert np.corrcoef(gaps, jaw)[0, 1] > 0.8


async def test_its_face_alone_pasted_over_its_footage_is_the_frame(rpc, voice):
    frames = []
    for composition in (messages.OutputOptions.FULL_FRAME, messages.OutputOptions.FACE_ONLY):
        output = messages.OutputOptions(composition=composition, format=messages.OutputOptions.PNG)
        request = asked(voice, output, start=30, count=3)
        frames.append((await rpc.stub.GenerateBatchWithAudio(request)).responses)
    for whole, face in zip(*frames, strict=True):
        left, top, right, bottom = face.bounds
        assert picture(face.image_data).shape == (bottom - top, right - left, 3)
        assert np.array_equal(picture(whole.image_data)[top:bottom, left:right], picture(face.image_data))
        assert len(face.image_data) < len(whole.image_data) / 2


async def test_frames_by_number_alone_are_refused_with_what_to_do(rpc):
    request = messages.BatchInferenceRequest(model_name="eileen", frame_ids=[1, 2])
    async with refused(grpc.StatusCode.FAILED_PRECONDITION, "eileen", "audio_chunks"):
        await rpc.stub.GenerateBatchInference(request)
