"""Single frames, and frames from the features that a package brings."""

import asyncio

import grpc
import numpy as np
import pytest

from tests.rpc.conftest import ROUNDING, differ, refused, request_of, until
from webrtc_avatar.audio.mel import MEL_BANDS, MEL_WINDOW
from webrtc_avatar.errors import FrameOutOfRange
from webrtc_avatar.rpc import optimized_lipsyncsrv_pb2 as messages

BAD = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture
def featured(model, monkeypatch):
    """Let the avatar bring features for the frames 0 to 9."""

    def features(frame):
        if not 0 <= frame < 10:
            raise FrameOutOfRange(f"the package has features for the frames 0 to 9; got {frame}")
        return np.full((MEL_WINDOW, MEL_BANDS), -8 + frame, np.float32)

    monkeypatch.setattr(model, "features", features)


def windows(chunks):
    """Return a request for each frame of a sound, with its own 16 chunks."""
    request = request_of(chunks)
    return [
        messages.OptimizedInferenceRequest(
            model_name="iris", frame_id=frame, audio_chunks=request.audio_chunks[frame : frame + 16]
        )
        for frame in range(len(chunks))
    ]


async def test_an_avatar_without_features_says_what_to_do(rpc):
    state = grpc.StatusCode.FAILED_PRECONDITION
    async with refused(state, "'iris'", "send audio_chunks"):
        await rpc.stub.GenerateInference(messages.OptimizedInferenceRequest(model_name="iris", frame_id=3))
    async with refused(state, "'iris'", "send audio_chunks"):
        await rpc.stub.GenerateBatchInference(messages.BatchInferenceRequest(model_name="iris", frame_ids=[3, 1]))


async def test_any_ids_come_in_the_order_they_were_asked_for(rpc, featured):
    ids = [7, 0, 9, 3, 3, 1]
    answer = await rpc.stub.GenerateBatchInference(messages.BatchInferenceRequest(model_name="iris", frame_ids=ids))
    assert [frame.frame_id for frame in answer.responses] == ids
    assert all(frame.success for frame in answer.responses)
    alone = await rpc.stub.GenerateInference(messages.OptimizedInferenceRequest(model_name="iris", frame_id=9))
    assert differ(alone.image_data, answer.responses[2].image_data) <= ROUNDING
    assert differ(answer.responses[3].image_data, answer.responses[4].image_data) <= ROUNDING


async def test_an_id_out_of_range_fails_alone(rpc, featured):
    ids = [1, 10, 2, -4, 3]
    answer = await rpc.stub.GenerateBatchInference(messages.BatchInferenceRequest(model_name="iris", frame_ids=ids))
    assert [frame.frame_id for frame in answer.responses] == ids
    assert [frame.success for frame in answer.responses] == [True, False, True, False, True]
    assert answer.responses[1].error == "the package has features for the frames 0 to 9; got 10"
    assert not answer.responses[3].image_data


async def test_a_single_frame_out_of_range_is_refused(rpc, featured):
    async with refused(grpc.StatusCode.OUT_OF_RANGE, "0 to 9", "12"):
        await rpc.stub.GenerateInference(messages.OptimizedInferenceRequest(model_name="iris", frame_id=12))


async def test_no_ids_and_too_many_are_refused_with_the_number(start, featured):
    rpc = await start(rpc_max_frames=5)
    for count in (0, 6):
        async with refused(BAD, f"holds {count}", "1 to 5"):
            await rpc.stub.GenerateBatchInference(
                messages.BatchInferenceRequest(model_name="iris", frame_ids=[0] * count)
            )


@pytest.mark.parametrize("count", [1, 15, 17])
async def test_a_window_of_another_length_is_refused_with_the_numbers(rpc, voice, count):
    request = messages.OptimizedInferenceRequest(model_name="iris", frame_id=3, audio_chunks=[bytes(2560)] * count)
    async with refused(BAD, "exactly 16", f"got {count}"):
        await rpc.stub.GenerateInference(request)


async def test_callers_of_one_frame_share_model_calls(rpc, voice, gate):
    calls = [asyncio.ensure_future(rpc.stub.GenerateInference(request)) for request in windows(voice[:9])]
    await asyncio.to_thread(gate.entered.wait, 10)
    await until(lambda: rpc.lipsync.calls == 9)
    await asyncio.sleep(0.1)
    gate.open()
    answers = await asyncio.gather(*calls)
    assert gate.frames == 9
    assert gate.calls < 9
    assert max(answer.batch_size for answer in answers) > 1


async def test_a_stream_answers_in_the_order_of_its_requests(rpc, voice):
    requests = windows(voice[:20])
    whole = await rpc.stub.GenerateBatchWithAudio(request_of(voice[:20]))
    answers = [answer async for answer in rpc.stub.StreamInference(iter(requests))]
    assert [answer.frame_id for answer in answers] == list(range(20))
    for answer, frame in zip(answers, whole.responses, strict=True):
        assert differ(answer.image_data, frame.image_data) <= ROUNDING


async def test_in_a_stream_what_is_wrong_with_one_request_is_in_its_answer(rpc, voice):
    requests = windows(voice[:6])
    requests[1].model_name = "sanders"
    requests[3].ClearField("audio_chunks")
    requests[4].audio_chunks[2] = bytes(7)
    answers = [answer async for answer in rpc.stub.StreamInference(iter(requests))]
    assert [answer.success for answer in answers] == [True, False, True, False, False, True]
    assert "installed: iris" in answers[1].error
    assert "send audio_chunks" in answers[3].error
    assert "chunk 2 has 7 bytes" in answers[4].error


async def test_a_stream_answers_each_request_as_soon_as_it_can(rpc, voice):
    call = rpc.stub.StreamInference()
    for request in windows(voice[:3]):
        await call.write(request)
        answer = await asyncio.wait_for(call.read(), 10)
        assert answer.frame_id == request.frame_id
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_a_stream_takes_no_more_than_it_can_work_on(rpc, voice, gate):
    read = []

    async def many():
        for place in range(400):
            read.append(place)
            yield windows(voice[:1])[0]

    call = rpc.stub.StreamInference(many())
    await asyncio.to_thread(gate.entered.wait, 10)
    before = 0
    while len(read) != before:  # until the caller is held back
        before = len(read)
        await asyncio.sleep(0.3)
    assert len(read) < 400
    assert rpc.lipsync.calls == 1
    call.cancel()
    await rpc.quiet()
