import av
import numpy as np
import pytest

from webrtc_avatar.errors import CannotWrite
from webrtc_avatar.render.mp4 import Mp4

PICTURE = np.full((96, 64), 128, np.uint8)


def a_film(path, frames=30, rate_hz=48_000, **more):
    sound = click(frames * rate_hz // 25, rate_hz)
    with Mp4(path, rate_hz=rate_hz, channels=1, **more) as mp4:
        for number in range(frames):
            picture = PICTURE.copy()
            picture[:64] = 16 + 200 * (number == 13)
            mp4.add(picture, sound[number * rate_hz // 25 : (number + 1) * rate_hz // 25, None])
    return sound


def click(count, rate_hz):
    """A click in the middle of frame 13."""
    sound = np.zeros(count, np.float32)
    middle = round(13.5 * rate_hz / 25)
    sound[middle : middle + 200] = 0.9 * np.hanning(200)
    return sound


@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000])
def test_sound_and_picture_are_in_step_to_the_sample(tmp_path, rate_hz):
    sound = a_film(tmp_path / "film.mp4", rate_hz=rate_hz)
    with av.open(str(tmp_path / "film.mp4")) as container:
        bright = [frame.time for frame in container.decode(video=0) if frame.to_ndarray(format="gray").mean() > 100]
    with av.open(str(tmp_path / "film.mp4")) as container:
        frames = list(container.decode(audio=0))
    heard = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    assert bright == [13 / 25]
    assert frames[0].time == 0
    shifts = range(-1_500, 1_500)
    around = slice(2_000, len(sound) - 2_000)
    scores = [float(heard[around.start + shift : around.stop + shift] @ sound[around]) for shift in shifts]
    assert abs(shifts[int(np.argmax(scores))]) <= 1, "AAC's priming of 1024 samples is not compensated"


def test_players_are_told_which_yuv_it_is(tmp_path):
    a_film(tmp_path / "film.mp4")
    with av.open(str(tmp_path / "film.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == (5, 1)


def test_until_it_is_whole_a_film_has_no_name_and_after_an_error_there_is_none(tmp_path):
    path = tmp_path / "film.mp4"

    def film():
        with Mp4(path, rate_hz=48_000, channels=1) as mp4:
            mp4.add(PICTURE, np.zeros((1920, 1), np.float32))
            assert not path.exists()
            assert [each.name[:10] for each in tmp_path.iterdir()] == [".film.mp4."]
            raise RuntimeError

    with pytest.raises(RuntimeError):
        film()
    assert list(tmp_path.iterdir()) == []


def test_a_film_that_is_there_is_replaced_only_where_allowed(tmp_path):
    path = tmp_path / "film.mp4"
    path.write_text("precious")
    with pytest.raises(CannotWrite, match="is there already; name another file, or allow it with --overwrite"):
        Mp4(path, rate_hz=48_000, channels=1)
    assert path.read_text() == "precious"
    a_film(path, overwrite=True)
    assert path.read_bytes()[4:8] == b"ftyp"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_appears_meanwhile_is_kept(tmp_path):
    path = tmp_path / "film.mp4"
    mp4 = Mp4(path, rate_hz=48_000, channels=1)
    mp4.add(PICTURE, np.zeros((1920, 1), np.float32))
    path.write_text("precious")
    with pytest.raises(CannotWrite, match="is there already"):
        mp4.finish()
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "words"),
    [("film.avi", r"does not end in \.mp4"), ("none/film.mp4", "folder that exists"), ("folder.mp4", "is a folder")],
)
def test_what_cannot_be_made_is_told_in_words(tmp_path, name, words):
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(CannotWrite, match=words):
        Mp4(tmp_path / name, rate_hz=48_000, channels=1, overwrite=True)
    assert [each.name for each in tmp_path.iterdir()] == ["folder.mp4"]


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    mp4 = Mp4(tmp_path / "film.mp4", rate_hz=48_000, channels=1)

    class Full:
        def __getattr__(self, name):
            return getattr(container, name)

        def mux(self, packets):
            raise OSError(28, "No space left on device")

    container = mp4._container
    monkeypatch.setattr(mp4, "_container", Full())
    with pytest.raises(CannotWrite, match="No space left on device"), mp4:
        mp4.add(PICTURE, np.zeros((1920, 1), np.float32))
    assert list(tmp_path.iterdir()) == []
