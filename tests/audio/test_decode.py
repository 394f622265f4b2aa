import io
import struct
import tracemalloc
import wave

import av
import numpy as np
import pytest

from webrtc_avatar.audio.decode import SoundFile, chunks, read
from webrtc_avatar.errors import InvalidAudio, UnreadableSound

KINDS = [
    ("wav", "pcm_s16le", 16_000),
    ("wav", "pcm_s24le", 44_100),
    ("wav", "pcm_f32le", 96_000),
    ("flac", "flac", 48_000),
    ("mp3", "mp3", 44_100),
    ("ogg", "libopus", 48_000),
    ("m4a", "aac", 48_000),
]


def sweep(seconds, rate_hz):
    """A tone that rises from 200 to 1200 Hz: it tells every moment from every other."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * (200 * t + 500 * t**2 / seconds))).astype(np.float32)


def header(samples):
    """The head of a WAV file of 32-bit floats, mono, 16 kHz."""
    form = b"\3\0\1\0" + struct.pack("<IIHH", 16_000, 64_000, 4, 32)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + 4 * samples)
        + b"WAVEfmt "
        + struct.pack("<I", len(form))
        + form
        + b"data"
        + struct.pack("<I", 4 * samples)
    )


def write(path, codec, rate_hz, sound, *, layout="mono", pts=None):
    """Encode float32 (channels, n); `pts` gives the time stamp of each block of 4096."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz, layout=layout)
        for place, first in enumerate(range(0, sound.shape[1], 4096)):
            block = np.ascontiguousarray(sound[:, first : first + 4096])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate_hz, first if pts is None else pts[place]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(("ending", "codec", "rate_hz"), KINDS)
def test_any_kind_of_file_becomes_the_same_16_khz_sound_at_the_same_time(tmp_path, ending, codec, rate_hz):
    path = write(tmp_path / f"sweep.{ending}", codec, rate_hz, sweep(2.0, rate_hz)[None])
    samples, expected = read(path), sweep(2.0, 16_000)
    assert samples.dtype == np.float32
    assert abs(len(samples) - 32_000) < 0.05 * 16_000
    shifts = range(-40, 41)
    middle = expected[4_000:28_000]
    scores = [float(np.corrcoef(samples[4_000 + s : 28_000 + s], middle)[0, 1]) for s in shifts]
    assert abs(shifts[int(np.argmax(scores))]) <= 1, "a sample of 16 kHz is 0.06 ms"
    assert max(scores) > 0.99


def test_pieces_together_equal_the_whole_and_chunks_are_filled_up_with_silence(tmp_path):
    path = write(tmp_path / "a.wav", "pcm_s16le", 44_100, sweep(1.01, 44_100)[None])
    whole = read(path)
    cut = list(chunks(path))
    assert len(whole) == 16_160
    assert len(cut) == 26
    joined = np.concatenate(cut)
    assert np.array_equal(joined[: len(whole)], whole)
    assert not joined[len(whole) :].any()


def test_channels_are_averaged(tmp_path):
    left = sweep(0.5, 16_000)
    path = write(tmp_path / "a.wav", "pcm_f32le", 16_000, np.stack([left, -left]), layout="stereo")
    assert np.abs(read(path)).max() < 1e-6
    with SoundFile(path) as sound:
        pieces = np.concatenate(list(sound.pieces()))
        assert (sound.channels, sound.rate_hz, sound.duration_s) == (2, 16_000, 0.5)
    assert np.allclose(pieces, np.stack([left, -left], 1), atol=1e-6)


def test_six_channels_become_two(tmp_path):
    path = write(tmp_path / "a.flac", "flac", 48_000, np.stack([sweep(0.3, 48_000)] * 6) / 4, layout="5.1")
    with SoundFile(path) as sound:
        assert sound.channels == 2
        assert sum(len(piece) for piece in sound.pieces()) == 14_400


@pytest.mark.parametrize(("ending", "codec"), [("wav", "pcm_s16le"), ("mp3", "mp3"), ("m4a", "aac")])
def test_start_and_duration_are_exact_in_every_kind_of_file(tmp_path, ending, codec):
    path = write(tmp_path / f"a.{ending}", codec, 48_000, sweep(3.0, 48_000)[None])
    part = read(path, start_s=1.0, duration_s=0.75)
    assert len(part) == 12_000
    assert np.abs(part[500:-500] - read(path)[16_500:27_500]).max() < 2e-3


def test_a_hole_in_the_time_stamps_becomes_silence(tmp_path):
    sound = np.full((1, 4096 * 8), 0.5, np.float32)
    pts = [n * 4096 + (n >= 4) * 48_000 for n in range(8)]
    path = write(tmp_path / "a.mka", "flac", 48_000, sound, pts=pts)
    with SoundFile(path) as opened:
        samples = np.concatenate(list(opened.pieces()))[:, 0]
    assert abs(len(samples) - 4096 * 8 - 48_000) < 100
    assert abs(int((samples == 0).sum()) - 48_000) < 100


def test_a_file_that_breaks_off_gives_what_it_has(tmp_path):
    path = write(tmp_path / "a.flac", "flac", 48_000, sweep(4.0, 48_000)[None])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 16_000 < len(read(path)) < 48_000


def test_a_broken_packet_in_the_middle_keeps_its_time(tmp_path):
    path = write(tmp_path / "a.mp3", "mp3", 44_100, sweep(4.0, 44_100)[None])
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2_000] = bytes(2_000)
    path.write_bytes(data)
    samples, expected = read(path), sweep(4.0, 16_000)
    assert abs(len(samples) - 64_000) < 8_000
    assert np.corrcoef(samples[4_000:20_000], expected[4_000:20_000])[0, 1] > 0.99


def test_an_open_file_is_read_as_a_named_one_is(speech_wav):
    with speech_wav.open("rb") as opened:
        samples = read(opened)
    with wave.open(str(speech_wav)) as source:
        expected = np.frombuffer(source.readframes(source.getnframes()), np.int16) / 32768
    assert np.allclose(samples, expected, atol=1e-6)


def test_numbers_that_are_none_do_not_spread(tmp_path):
    sound = sweep(0.5, 16_000)
    sound[4_000] = np.nan
    sound[4_001] = np.inf
    samples = read(io.BytesIO(header(len(sound)) + sound.tobytes()))
    assert np.isfinite(samples).all()
    assert np.abs(samples).max() <= 1


def test_memory_stays_flat_however_long_the_file_is(tmp_path):
    path = tmp_path / "long.wav"
    with wave.open(str(path), "wb") as target:
        target.setnchannels(2)
        target.setsampwidth(2)
        target.setframerate(16_000)
        for _ in range(60):
            target.writeframes(bytes(16_000 * 4 * 10))
    tracemalloc.start()
    count = sum(1 for _ in chunks(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 60 * 10 * 25
    assert peak < 2e6, "the file has 38 MB"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "none.wav", "is not a file; give a file with sound"),
        (lambda folder: folder, "is not a file"),
        (lambda folder: put(folder / "letter.wav", b"Dear reader"), "cannot be read"),
        (lambda folder: put(folder / "empty.mp3", b""), "cannot be read"),
        (lambda folder: silent_film(folder / "film.mp4"), "holds no sound"),
        (lambda folder: put(folder / "n.wav", header(0)), "could be decoded as sound"),
    ],
)
def test_what_holds_no_sound_is_told_in_words(tmp_path, make, words):
    with pytest.raises(UnreadableSound, match=words) as caught:
        read(make(tmp_path))
    assert isinstance(caught.value, InvalidAudio)


def test_a_start_behind_the_end_is_told_with_both(tmp_path, speech_wav):
    with pytest.raises(UnreadableSound, match=r"is \d\.\d\d s long, so nothing begins at 99\.00 s"):
        read(speech_wav, start_s=99)
    with pytest.raises(UnreadableSound, match="the start is 0 or more"):
        read(speech_wav, start_s=-1)


def put(path, data):
    path.write_bytes(data)
    return path


def silent_film(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((96, 64), np.uint8), format="yuv420p")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
