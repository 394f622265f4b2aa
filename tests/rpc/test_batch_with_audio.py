"""Consecutive frames from chunks that are sent once."""

import itertools
import logging

import cv2
import grpc
import numpy as np
import pytest

from tests.rpc.conftest import ROUNDING, differ, picture, refused, request_of
from webrtc_avatar.rpc import optimized_lipsyncsrv_pb2 as messages

BAD = grpc.StatusCode.INVALID_ARGUMENT


async def test_each_frame_comes_in_order_with_its_figures(rpc, voice):
    answer = await rpc.stub.GenerateBatchWithAudio(request_of(voice, start=10, count=40))
    assert [frame.frame_id for frame in answer.responses] == list(range(10, 50))
    assert max(frame.batch_size for frame in answer.responses) > 1
    for frame in answer.responses:
        assert frame.success
        assert not frame.HasField("error")
        assert picture(frame.image_data).shape == (frame.height, frame.width, 3) == (512, 512, 3)
        assert list(frame.bounds) == [128, 224, 384, 432]
        assert frame.inference_time_ms > 0
        assert frame.composite_time_ms > 0
        spent = frame.queue_time_ms + frame.inference_time_ms + frame.composite_time_ms
        assert frame.processing_time_ms == pytest.approx(spent, abs=1)
    assert answer.total_processing_time_ms > 0
    assert answer.avg_frame_time_ms == pytest.approx(answer.total_processing_time_ms / 40, abs=0.02)


async def test_the_mouth_follows_the_sound(rpc, voice):
    sound = np.concatenate((np.zeros_like(voice[:30]), voice[:30]))
    answer = await rpc.stub.GenerateBatchWithAudio(request_of(sound))
    frames = [picture(frame.image_data)[270:380, 180:340].astype(int) for frame in answer.responses]
    moves = [np.abs(b - a).mean() for a, b in itertools.pairwise(frames)]
    assert np.mean(moves[32:55]) > 2 * np.mean(moves[5:25])


async def test_a_sound_may_be_cut_into_calls_anywhere(rpc, voice):
    whole = await rpc.stub.GenerateBatchWithAudio(request_of(voice, count=30))
    parts = []
    for start, count in ((0, 1), (1, 11), (12, 18)):
        parts += (await rpc.stub.GenerateBatchWithAudio(request_of(voice, start=start, count=count))).responses
    for frame, part in zip(whole.responses, parts, strict=True):
        assert frame.frame_id == part.frame_id
        assert differ(frame.image_data, part.image_data) <= ROUNDING


async def test_sixteen_chunks_make_the_same_frame_alone(rpc, voice):
    request = request_of(voice, start=20, count=9)
    batch = await rpc.stub.GenerateBatchWithAudio(request)
    for place in (0, 4, 8):
        window = request.audio_chunks[place : place + 16]
        alone = await rpc.stub.GenerateInference(
            messages.OptimizedInferenceRequest(model_name="iris", frame_id=20 + place, audio_chunks=window)
        )
        assert differ(alone.image_data, batch.responses[place].image_data) <= ROUNDING


async def test_int16_and_float32_sound_alike(rpc, voice):
    chunks = np.round(voice * 32768) / 32768
    request = request_of(chunks.astype(np.float32), count=20)
    whole = await rpc.stub.GenerateBatchWithAudio(request)
    small = [(np.frombuffer(data, "<f4") * 32768).astype("<i2").tobytes() for data in request.audio_chunks]
    del request.audio_chunks[:]
    request.audio_chunks.extend(small)
    request.audio_encoding = messages.INT16
    for frame, other in zip(whole.responses, (await rpc.stub.GenerateBatchWithAudio(request)).responses, strict=True):
        assert differ(frame.image_data, other.image_data) <= ROUNDING


async def test_too_few_chunks_are_refused_with_the_numbers(rpc, voice):
    request = request_of(voice, start=100, count=20)
    del request.audio_chunks[-1]
    async with refused(BAD, "20 frames need 35", "got 34", "92 to 126"):
        await rpc.stub.GenerateBatchWithAudio(request)


@pytest.mark.parametrize("size", [0, 1, 2559, 2561, 1280])
async def test_a_chunk_of_another_length_is_refused_with_the_numbers(rpc, voice, size):
    request = request_of(voice, count=4)
    request.audio_chunks[5] = bytes(size)
    async with refused(BAD, "chunk 5", f"{size} bytes", "2560"):
        await rpc.stub.GenerateBatchWithAudio(request)


async def test_an_extra_chunk_of_another_length_is_refused_too(rpc, voice):
    request = request_of(voice, count=4)
    request.audio_chunks.append(bytes(4))
    async with refused(BAD, "chunk 19", "4 bytes", "2560"):
        await rpc.stub.GenerateBatchWithAudio(request)


async def test_numbers_that_are_no_sound_are_refused(rpc, voice):
    chunks = voice.copy()
    chunks[3, 100] = np.nan
    async with refused(BAD, "chunk 11", "nan", "at 100"):
        await rpc.stub.GenerateBatchWithAudio(request_of(chunks, count=10))


async def test_more_than_ten_extra_chunks_are_a_warning(rpc, voice, caplog):
    request = request_of(voice, count=4)
    for extra, warned in ((10, False), (11, True)):
        del request.audio_chunks[19:]
        request.audio_chunks.extend([bytes(2560)] * extra)
        caplog.clear()
        answer = await rpc.stub.GenerateBatchWithAudio(request)
        assert len(answer.responses) == 4
        records = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert bool(records) == warned
        assert not warned or ("30 chunks" in records[0].getMessage() and "need 19" in records[0].getMessage())


async def test_what_was_saved_is_logged(rpc, voice, caplog):
    with caplog.at_level(logging.INFO):
        await rpc.stub.GenerateBatchWithAudio(request_of(voice, count=4))
    assert "chunks=19 instead_of=64 saved_percent=70.3" in caplog.text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"frame_count": 0}, ("frame_count is 0", "1 to 1000")),
        ({"frame_count": -5}, ("-5",)),
        ({"frame_count": 2**31 - 1}, ("2147483647", "1 to 1000")),
        ({"start_frame_id": -1}, ("from 0", "-1")),
        ({"start_frame_id": 2**31 - 2}, ("2147483646",)),
        ({"audio_encoding": 7}, ("audio_encoding", "7")),
        ({"output": {"format": 9}}, ("format", "9")),
        ({"output": {"composition": 5}}, ("composition", "5")),
        ({"output": {"jpeg_quality": 1000}}, ("jpeg_quality", "1000")),
        ({"model_name": ""}, ("model_name", "iris")),
    ],
)
async def test_requests_that_cannot_be_are_refused_with_what_is_wrong(rpc, voice, fields, said):
    request = request_of(voice, count=4)
    for name, value in fields.items():
        if isinstance(value, dict):
            getattr(request, name).MergeFrom(messages.OutputOptions(**value))
        else:
            setattr(request, name, value)
    async with refused(BAD, *said):
        await rpc.stub.GenerateBatchWithAudio(request)


async def test_an_unknown_model_is_not_found_and_those_there_are_are_named(rpc, voice):
    request = request_of(voice, count=1)
    request.model_name = "sanders"
    async with refused(grpc.StatusCode.NOT_FOUND, "'sanders'", "iris"):
        await rpc.stub.GenerateBatchWithAudio(request)


async def test_an_answer_that_cannot_fit_is_refused_before_it_is_made(rpc, voice, gate):
    raw = messages.OutputOptions(format=messages.OutputOptions.RAW_BGR)
    async with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "512x512", "at most 66"):
        await rpc.stub.GenerateBatchWithAudio(request_of(voice, count=70, output=raw))
    assert gate.calls == 0


async def test_an_answer_that_outgrows_a_message_is_refused_with_where(start, voice):
    rpc = await start(rpc_max_message_bytes=600_000)
    async with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "600000 bytes", "fewer frames"):
        await rpc.stub.GenerateBatchWithAudio(request_of(voice, count=40))


async def test_a_face_alone_pasted_over_the_footage_is_the_frame(rpc, voice):
    face_only = messages.OutputOptions(composition=messages.OutputOptions.FACE_ONLY)
    for form, most in ((messages.OutputOptions.JPEG, 40), (messages.OutputOptions.PNG, 0)):
        full = messages.OutputOptions(format=form)
        face_only.format = form
        frame = (await rpc.stub.GenerateBatchWithAudio(request_of(voice, start=22, count=1, output=full))).responses[0]
        face = (
            await rpc.stub.GenerateBatchWithAudio(request_of(voice, start=22, count=1, output=face_only))
        ).responses[0]
        left, top, right, bottom = face.bounds
        assert picture(face.image_data).shape == (face.height, face.width, 3) == (bottom - top, right - left, 3)
        plain = await rpc.stub.GetVideoFrame(messages.GetVideoFrameRequest(model_name="iris", frame_id=22))
        pasted = picture(plain.frame_data)
        pasted[top:bottom, left:right] = picture(face.image_data)
        difference = np.abs(pasted.astype(int) - picture(frame.image_data))
        if form == messages.OutputOptions.JPEG:
            assert difference.max() <= most
            assert (difference > 0).mean() < 0.005  # decoders smooth colours over the border
        else:
            assert difference[top:bottom, left:right].max() <= most
        assert len(face.image_data) < len(frame.image_data) / 2


@pytest.mark.parametrize(("form", "magic"), [("JPEG", b"\xff\xd8"), ("PNG", b"\x89PNG"), ("WEBP", b"RIFF")])
async def test_each_format_comes_as_asked_for(rpc, voice, form, magic):
    output = messages.OutputOptions(format=messages.OutputOptions.ImageFormat.Value(form))
    answer = await rpc.stub.GenerateBatchWithAudio(request_of(voice, count=1, output=output))
    assert answer.responses[0].image_data.startswith(magic)


async def test_raw_pixels_are_those_of_the_png(rpc, voice):
    kinds = messages.OutputOptions
    raw, png = [
        (await rpc.stub.GenerateBatchWithAudio(request_of(voice, count=1, output=kinds(format=form)))).responses[0]
        for form in (kinds.RAW_BGR, kinds.PNG)
    ]
    pixels = np.frombuffer(raw.image_data, np.uint8).reshape(raw.height, raw.width, 3)
    assert np.array_equal(pixels, cv2.imdecode(np.frombuffer(png.image_data, np.uint8), cv2.IMREAD_COLOR))


async def test_a_frame_that_fails_fails_alone(rpc, voice, model, monkeypatch):
    render = model.render

    def faulty(jobs):
        if any(job.base == 5 for job in jobs):
            raise RuntimeError("the fifth")
        return render(jobs)

    monkeypatch.setattr(model, "render", faulty)
    answer = await rpc.stub.GenerateBatchWithAudio(request_of(voice, count=12))
    assert [frame.frame_id for frame in answer.responses] == list(range(12))
    assert [frame.frame_id for frame in answer.responses if not frame.success] == [5]
    failed = answer.responses[5]
    assert "the fifth" in failed.error
    assert failed.image_data == b""
