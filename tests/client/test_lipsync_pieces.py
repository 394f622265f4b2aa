import numpy as np
import pytest

from webrtc_avatar.audio.window import pad, to_bytes
from webrtc_avatar.client.lipsync_frames import Piece, encoded, pieces
from webrtc_avatar.errors import InvalidAudio


def chunks(count):
    return np.repeat(np.arange(count, dtype=np.float32)[:, None], 640, axis=1)


@pytest.mark.parametrize("count", [1, 7, 24, 25, 26, 33, 50, 57, 240])
@pytest.mark.parametrize("frames_each", [1, 8, 25, 250])
def test_pieces_are_what_pad_gives_for_their_frames(count, frames_each):
    sound = chunks(count)
    cut = list(pieces(to_bytes(sound), frames_each=frames_each))
    assert sum(piece.frame_count for piece in cut) == count
    assert max(piece.frame_count for piece in cut) <= frames_each
    at = 0
    for piece in cut:
        assert piece.first == at
        assert piece.chunks == to_bytes(pad(sound, start=at, frame_count=piece.frame_count))
        at += piece.frame_count


def test_no_more_than_a_piece_is_read_ahead():
    read = 0

    def endless():
        nonlocal read
        while True:
            read += 1
            yield bytes(2560)

    cut = pieces(endless(), frames_each=25)
    for number in range(1, 5):
        next(cut)
        assert read == 25 * number + 7


def test_halves_are_the_same_frames_with_their_own_chunks():
    sound = chunks(40)
    (whole,) = pieces(to_bytes(sound), frames_each=40)
    near, far = whole.halves()
    assert (near.first, near.frame_count, far.first, far.frame_count) == (0, 20, 20, 20)
    assert near.chunks == to_bytes(pad(sound, start=0, frame_count=20))
    assert far.chunks == to_bytes(pad(sound, start=20, frame_count=20))
    odd = Piece(3, 3, [b""] * 18).halves()
    assert [(half.first, half.frame_count, len(half.chunks)) for half in odd] == [(3, 1, 16), (4, 2, 17)]


def test_of_silence_that_is_not_even_there_nothing_is_made():
    with pytest.raises(InvalidAudio, match="the sound is empty"):
        list(pieces([], frames_each=25))


def test_int16_is_half_as_much_and_keeps_full_scale():
    samples = np.array([-1, -0.5, 0, 0.5, 1], np.float32)
    assert np.frombuffer(encoded(samples, "int16"), "<i2").tolist() == [-32768, -16384, 0, 16384, 32767]
    assert np.frombuffer(encoded(samples, "float32"), "<f4").tolist() == samples.tolist()
