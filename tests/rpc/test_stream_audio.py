"""Live sound in, frames out."""

import asyncio

import grpc
import numpy as np
import pytest

from tests.rpc.conftest import ROUNDING, differ, refused, request_of
from tests.rpc.test_sound import opus_packets
from webrtc_avatar.rpc import audio_stream
from webrtc_avatar.rpc import optimized_lipsyncsrv_pb2 as messages

BAD = grpc.StatusCode.INVALID_ARGUMENT


def said(chunks, *, size=5_000, **first):
    """Return the messages of a sound in pieces that fit no chunk."""
    data = chunks.astype("<f4").tobytes()
    pieces = [data[place : place + size] for place in range(0, len(data), size)]
    return [
        messages.StreamAudioRequest(audio=piece, **({"model_name": "iris", **first} if not place else {}))
        for place, piece in enumerate(pieces)
    ]


async def frames_of(call, count):
    """Return the next frames of a call."""
    return [await asyncio.wait_for(call.read(), 10) for _ in range(count)]


async def same_as_batch(rpc, frames, chunks):
    batch = await rpc.stub.GenerateBatchWithAudio(request_of(chunks))
    for frame, other in zip(frames, batch.responses, strict=True):
        assert frame.success
        assert differ(frame.image_data, other.image_data) <= ROUNDING


@pytest.mark.parametrize("count", [1, 5, 40])
async def test_the_frames_are_those_of_a_batch_with_the_ends_repeated(rpc, voice, count):
    frames = [frame async for frame in rpc.stub.StreamAudio(iter(said(voice[10 : 10 + count])))]
    assert [frame.frame_id for frame in frames] == list(range(count))
    await same_as_batch(rpc, frames, voice[10 : 10 + count])


async def test_a_frame_comes_as_soon_as_its_window_is_complete(rpc, voice):
    call = rpc.stub.StreamAudio()
    for place in range(7):
        await call.write(
            messages.StreamAudioRequest(model_name="" if place else "iris", audio=voice[place].astype("<f4").tobytes())
        )
    first = asyncio.ensure_future(call.read())
    done, _ = await asyncio.wait({first}, timeout=0.3)
    assert not done
    for place in range(7, 12):
        await call.write(messages.StreamAudioRequest(audio=voice[place].astype("<f4").tobytes()))
        frame = await asyncio.wait_for(first if place == 7 else call.read(), 10)
        assert frame.frame_id == place - 7
    call.cancel()


async def test_the_end_flushes_the_tail_and_the_next_utterance_may_begin(rpc, voice):
    call = rpc.stub.StreamAudio()
    await call.write(messages.StreamAudioRequest(model_name="iris", audio=voice[:10].tobytes(), end=True))
    frames = await frames_of(call, 10)
    await same_as_batch(rpc, frames, voice[:10])
    await call.write(messages.StreamAudioRequest(audio=voice[30:42].tobytes(), end=True))
    more = await frames_of(call, 12)
    assert [frame.frame_id for frame in more] == list(range(10, 22))
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_what_is_left_at_the_end_is_a_chunk_filled_up_with_silence(rpc, voice):
    sound = voice[:3].reshape(-1)[: 2 * 640 + 100]
    frames = [frame async for frame in rpc.stub.StreamAudio(iter(said(sound)))]
    await same_as_batch(rpc, frames, np.pad(sound, (0, 540)).reshape(3, 640))


async def test_an_interrupt_drops_sound_and_frames_that_wait(rpc, voice, gate):
    call = rpc.stub.StreamAudio()
    await call.write(messages.StreamAudioRequest(model_name="iris", audio=voice[:60].tobytes()))
    await asyncio.to_thread(gate.entered.wait, 10)
    await call.write(messages.StreamAudioRequest(interrupt=True, audio=voice[20:32].tobytes(), end=True))
    await asyncio.sleep(0.2)
    gate.open()
    frames = await frames_of(call, 12)
    assert [frame.frame_id for frame in frames] == list(range(60, 72))
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert gate.frames < 30 + 12


async def test_int16_and_opus_are_heard_too(rpc, voice):
    small = np.clip(voice[:20] * 32768, -32768, 32767).astype("<i2").tobytes()
    sent = [messages.StreamAudioRequest(model_name="iris", audio=small, audio_encoding=messages.INT16)]
    frames = [frame async for frame in rpc.stub.StreamAudio(iter(sent))]
    await same_as_batch(rpc, frames, np.frombuffer(small, "<i2").astype(np.float32).reshape(-1, 640) / 32768)
    packets = opus_packets(1.0)
    sent = [messages.StreamAudioRequest(model_name="iris", audio=p, audio_encoding=messages.OPUS) for p in packets]
    frames = [frame async for frame in rpc.stub.StreamAudio(iter(sent))]
    assert len(frames) in (len(packets), len(packets) + 1)
    assert all(frame.success for frame in frames)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ([], ("first message",)),
        ([{"audio": b""}], ("model_name is missing",)),
        ([{"model_name": "iris"}, {"model_name": "juno"}], ("'juno'", "another stream")),
        ([{"model_name": "iris", "audio": b"abc", "end": True}], ("3 bytes of a sample",)),
        ([{"model_name": "iris", "audio": np.full(640, 9, "<f4").tobytes()}], ("the sample 9",)),
        ([{"model_name": "iris", "audio": b"\xff\xff", "audio_encoding": 2}], ("RFC 6716",)),
        ([{"model_name": "iris", "audio": bytes(8)}, {"audio": bytes(8), "audio_encoding": 1}], ("FLOAT32", "INT16")),
        ([{"model_name": "iris", "audio_encoding": 5}], ("audio_encoding",)),
    ],
)
async def test_messages_that_cannot_be_are_refused(rpc, sent, said):
    requests = [messages.StreamAudioRequest(**fields) for fields in sent]
    async with refused(BAD, *said):
        async for _ in rpc.stub.StreamAudio(iter(requests)):
            pass


async def test_frames_of_the_sound_before_a_fault_come_first(rpc, voice):
    requests = said(voice[:20])
    requests.append(messages.StreamAudioRequest(audio=np.full(6400, np.nan, "<f4").tobytes()))
    frames = []
    async with refused(BAD, "nan"):
        async for frame in rpc.stub.StreamAudio(iter(requests)):
            frames.append(frame.frame_id)  # noqa: PERF401 - they count although the call fails
    assert frames == list(range(len(frames)))


async def test_who_sends_more_than_is_rendered_is_held_back(rpc, voice, gate, monkeypatch):
    monkeypatch.setattr(audio_stream, "MAX_BACKLOG_CHUNKS", 50)
    sent = []

    async def speak():
        for place in range(2_000):
            sent.append(place)
            yield messages.StreamAudioRequest(model_name="iris", audio=voice[:10].tobytes())

    call = rpc.stub.StreamAudio(speak())
    await asyncio.to_thread(gate.entered.wait, 10)
    before = 0
    while len(sent) != before:
        before = len(sent)
        await asyncio.sleep(0.3)
    assert len(sent) < 2_000
    call.cancel()
    await rpc.quiet()
    assert gate.frames <= 32


async def test_a_frame_that_fails_fails_alone(rpc, voice, model, monkeypatch):
    render = model.render

    def faulty(jobs):
        if any(job.base == 4 for job in jobs):
            raise RuntimeError("the fourth")
        return render(jobs)

    monkeypatch.setattr(model, "render", faulty)
    frames = [frame async for frame in rpc.stub.StreamAudio(iter(said(voice[:10])))]
    assert [frame.success for frame in frames] == [place != 4 for place in range(10)]
    assert "the fourth" in frames[4].error
