"""Rows of features: the published ones, whichever way the sound is cut."""

import numpy as np
import pytest

from tests.engine.synctalk_parts import VECTORS, chunks, contexts_of
from tests.nets.seeded import encoder_arrays
from webrtc_avatar.audio.chunk import CHUNK_SAMPLES
from webrtc_avatar.engine.model import WINDOW_CHUNKS_AFTER, WINDOW_CHUNKS_BEFORE
from webrtc_avatar.engine.runtime.onnx import OnnxRuntime
from webrtc_avatar.engine.synctalk_track import NOTHING, SyncTalkTrack, silent_row
from webrtc_avatar.nets.synctalk2d_graph import audio_graph

SILENCE = silent_row()
ORIGINAL = (10, 11)
WIRE = (WINDOW_CHUNKS_BEFORE, WINDOW_CHUNKS_AFTER)


@pytest.fixture(scope="module")
def encode(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoder") / "audio.onnx"
    path.write_bytes(audio_graph(encoder_arrays()))
    network = OnnxRuntime(threads=1).load(path, "synctalk2d_audio")

    def rows(context):
        """Return float32 (16, 512)."""
        for row in context:
            if row.features is None:
                row.features = network({"mel": np.ascontiguousarray(row.mel.T[None])})["row"][0]
        return np.array([row.features for row in context])

    return rows


@pytest.fixture(scope="module")
def published():
    with np.load(VECTORS / "synctalk2d_audio.npz", allow_pickle=False) as vectors:
        return {key: vectors[key] for key in vectors.files}


def track(around=ORIGINAL, first_chunk=0):
    return SyncTalkTrack(*around, first_chunk=first_chunk, silence=SILENCE)


def sound(count: int, seed: int = 4) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    loudness = np.repeat(rng.uniform(0, 0.3, count), CHUNK_SAMPLES)
    return chunks((loudness * rng.standard_normal(count * CHUNK_SAMPLES)).astype(np.float32))


def same(some, others) -> bool:
    """Say whether two contexts hear the same mel, or nothing, in each row."""
    return all(
        (one is NOTHING) == (other is NOTHING) and (one is NOTHING or np.allclose(one.mel, other.mel, atol=1e-6))
        for one, other in zip(some, others, strict=True)
    )


def test_rows_from_chunks_are_the_published_ones(encode, published):
    contexts = contexts_of(track(), chunks(published["pcm_i16"].astype(np.float32) / 32768))
    most = np.abs(published["rows"]).max()
    for window, expected in enumerate(published["rows"]):
        own = encode(contexts[window + 1])[8]
        np.testing.assert_allclose(own[::2], expected, atol=1e-3 * most)
    for frame, expected in zip(published["window_t"], published["window_sum"], strict=True):
        np.testing.assert_allclose(encode(contexts[frame]).sum(1), expected, rtol=1e-3, atol=1e-3 * most)


def test_a_frame_of_16_chunks_alone_has_the_ten_rows_that_they_support(encode, published):
    frame = int(published["w16_t"])
    pieces = chunks(published["pcm_i16"].astype(np.float32) / 32768)
    alone = track(WIRE, first_chunk=frame - 8)
    *_, context = (alone.push(piece) for piece in pieces[frame - 8 : frame + 8])
    sums = encode(context).sum(1)
    full = published["w16_full_context_window_sum"]
    np.testing.assert_allclose(sums[2:12], full[2:12], rtol=1e-3)
    np.testing.assert_array_equal(sums[:2], sums[2])
    np.testing.assert_array_equal(sums[12:], sums[11])


@pytest.mark.parametrize("first_chunk", [-8, 0, 3, 1234])
def test_a_frame_of_a_long_request_hears_what_it_hears_of_its_own_16_chunks(first_chunk):
    pieces = sound(40)
    long = track(WIRE, first_chunk=first_chunk)
    contexts = [long.push(piece) for piece in pieces]
    for start in range(0, len(pieces) - 15, 3):
        alone = track(WIRE, first_chunk=first_chunk + start)
        *_, context = (alone.push(piece) for piece in pieces[start : start + 16])
        assert same(context, contexts[start + 15])
        assert NOTHING not in context


def test_where_a_request_lies_on_the_grid_makes_a_difference():
    heard = []
    for first_chunk in (0, 1):
        shifted = track(WIRE, first_chunk=first_chunk)
        *_, context = (shifted.push(piece) for piece in sound(16))
        heard.append(context)
    assert not same(*heard)


@pytest.mark.parametrize("after", [11, 7, 5, 3, 1, 0])
def test_a_frame_hears_no_chunk_later_than_it_may_and_all_rows_that_it_can(after):
    pieces = sound(30)
    live, full = track((10, after)), track()
    contexts = [live.push(piece) for piece in pieces]
    exact = contexts_of(full, pieces)
    assert contexts[:after] == [None] * after
    for frame in range(12, 30 - after):
        context = contexts[frame + after]
        last = min(frame + after - 4, frame + 7)
        for place, number in enumerate(range(frame - 8, frame + 8)):
            wanted = exact[min(number, last)][8]
            assert np.allclose(context[place].mel, wanted.mel, atol=1e-6)


def test_before_the_first_row_is_nothing_and_the_first_row_is_there_twice():
    context = contexts_of(track(), sound(20))[3]
    assert all(row is NOTHING for row in context[:5])
    assert context[5] is context[6]
    assert context[6] is not context[7]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 13, 25])
@pytest.mark.parametrize("after", [11, 7, 0])
def test_every_chunk_gets_its_frame_once_the_sound_ends(count, after):
    contexts = contexts_of(track((10, after)), sound(count))
    assert len(contexts) == count
    assert all(len(context) == 16 for context in contexts)


def test_sound_without_a_chunk_has_no_frames():
    assert track().finish() == []


def test_no_frame_hears_the_end_before_it_is_there():
    pieces = sound(40)
    longer, shorter = contexts_of(track(), pieces), contexts_of(track(), pieces[:30])
    for frame in range(30 - 11):
        assert same(longer[frame], shorter[frame])
    assert not same(longer[25], shorter[25])


def test_a_row_is_one_object_in_all_frames_that_hear_it():
    contexts = contexts_of(track(), sound(30))
    assert len({id(row) for context in contexts for row in context}) <= 30 + 2


def test_silence_is_one_row_for_all_sound_and_not_nothing(encode):
    quiet = contexts_of(track(), [np.zeros(CHUNK_SAMPLES, np.float32)] * 30)
    assert {id(row) for row in quiet[15]} == {id(SILENCE)}
    assert np.abs(encode(quiet[15])).max() > 0


def test_a_track_keeps_as_much_after_an_hour_as_after_a_second():
    long = track()
    piece = sound(1)[0]
    sizes = []
    for number in range(400):
        long.push(piece)
        if number in (50, 399):
            sizes.append((len(long._rows), len(long._mel)))
    assert sizes[1] <= (sizes[0][0] + 2, sizes[0][1] + 4)
