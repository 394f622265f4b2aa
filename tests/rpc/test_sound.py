"""Sound from the wire."""

import numpy as np
import pytest

from webrtc_avatar.errors import InvalidAudio, InvalidRequest
from webrtc_avatar.rpc.sound import Cutter, Encoding, read_chunks

TONE = (0.3 * np.sin(np.arange(6400) * 0.1)).astype(np.float32)


def float_chunks():
    return [row.astype("<f4").tobytes() for row in TONE.reshape(-1, 640)]


def opus_packets(seconds, packet_ms=40):
    """Return Opus packets of a tone of 500 Hz."""
    import av

    codec = av.CodecContext.create("libopus", "w")
    codec.sample_rate, codec.layout, codec.format, codec.bit_rate = 48_000, "mono", "s16", 48_000
    codec.options = {"frame_duration": str(packet_ms)}
    samples = 48 * packet_ms
    t = np.arange(int(seconds * 48_000)) / 48_000
    tone = (8_000 * np.sin(2 * np.pi * 500 * t)).astype(np.int16)
    packets = []
    for place in range(0, len(tone) - samples + 1, samples):
        frame = av.AudioFrame.from_ndarray(tone[None, place : place + samples], format="s16", layout="mono")
        frame.sample_rate, frame.pts = 48_000, place
        packets += [bytes(packet) for packet in codec.encode(frame)]
    return packets


def test_float32_is_not_copied():
    sent = float_chunks()
    for chunk, data in zip(read_chunks(sent, Encoding.FLOAT32), sent, strict=True):
        assert chunk.dtype == np.float32
        assert np.shares_memory(chunk, np.frombuffer(data, np.uint8))


def test_int16_is_scaled():
    chunk = np.arange(-320, 320, dtype="<i2") * 100
    (heard,) = read_chunks([chunk.tobytes()], Encoding.INT16)
    assert np.array_equal(heard, chunk / np.float32(32768))
    assert heard.dtype == np.float32


def test_opus_packets_are_chunks():
    chunks = read_chunks(opus_packets(1.0), Encoding.OPUS)
    assert {(chunk.shape, chunk.dtype) for chunk in chunks} == {((640,), np.dtype(np.float32))}
    sound = np.concatenate(chunks[5:20])
    spectrum = np.abs(np.fft.rfft(sound))
    assert np.argmax(spectrum) * 16_000 / len(sound) == pytest.approx(500, abs=5)


@pytest.mark.parametrize(
    ("chunks", "encoding", "said"),
    [
        ([bytes(2560), bytes(2559)], Encoding.FLOAT32, ("chunk 1", "2559", "2560")),
        ([bytes(2560)], Encoding.INT16, ("2560", "1280")),
        ([b""], Encoding.FLOAT32, ("0 bytes",)),
        ([b"no opus"], Encoding.OPUS, ("chunk 0", "7 bytes")),
        ([b""], Encoding.OPUS, ("0 bytes",)),
        (opus_packets(0.1, 20)[:1], Encoding.OPUS, ("20 ms", "40 ms")),
    ],
)
def test_a_chunk_of_another_length_is_named(chunks, encoding, said):
    with pytest.raises(InvalidAudio) as caught:
        read_chunks(chunks, encoding)
    for part in said:
        assert part in caught.value.message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.5, -20_000.0])
def test_numbers_that_are_no_sound_are_named(value):
    chunk = np.zeros(640, "<f4")
    chunk[7] = value
    with pytest.raises(InvalidAudio, match=r"chunk 1 has the sample .* at 7"):
        read_chunks([bytes(2560), chunk.tobytes()], Encoding.FLOAT32)


def test_full_scale_as_others_compute_it_is_sound():
    read_chunks([np.full(640, -32768 / 32767, "<f4").tobytes()], Encoding.FLOAT32)


def test_pieces_of_any_length_become_the_same_chunks():
    data = b"".join(float_chunks())
    for size in (1, 3, 640, 2560, 4000, len(data)):
        cutter, heard = Cutter(Encoding.FLOAT32), []
        for place in range(0, len(data), size):
            heard += cutter.push(data[place : place + size])
        assert np.array_equal(np.concatenate(heard), TONE)
        assert cutter.flush() == []


def test_what_is_left_is_filled_up_with_silence():
    cutter = Cutter(Encoding.INT16)
    assert cutter.push(np.full(100, 16384, "<i2").tobytes()) == []
    (chunk,) = cutter.flush()
    assert np.array_equal(chunk, np.r_[np.full(100, 0.5), np.zeros(540)].astype(np.float32))
    assert cutter.flush() == []


def test_half_a_sample_at_the_end_is_said():
    cutter = Cutter(Encoding.FLOAT32)
    cutter.push(bytes(6))
    with pytest.raises(InvalidAudio, match="2 bytes of a sample"):
        cutter.flush()


def test_opus_packets_of_20_ms_become_chunks_too():
    cutter = Cutter(Encoding.OPUS)
    chunks = [chunk for packet in opus_packets(1.0, 20) for chunk in cutter.push(packet)]
    assert len(chunks) == len(opus_packets(1.0, 20)) // 2
    with pytest.raises(InvalidAudio, match="RFC 6716"):
        cutter.push(b"\xff\xff\xff\xff")


def test_an_unknown_encoding_is_refused():
    assert Encoding.of(2) is Encoding.OPUS
    with pytest.raises(InvalidRequest, match=r"2 \(OPUS\); got 3"):
        Encoding.of(3)
