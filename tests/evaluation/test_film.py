from pathlib import Path

import av
import cv2
import numpy as np

from webrtc_avatar.avatar.library import Library
from webrtc_avatar.evaluation import sheet
from webrtc_avatar.evaluation.film import film
from webrtc_avatar.evaluation.recordings import LIBRIVOX_FOLDER
from webrtc_avatar.evaluation.sheet import contact_sheet

SPEECH = next(Path(LIBRIVOX_FOLDER).glob("*0930.wav"))


def test_a_film_has_the_speech_and_a_mouth_that_moves_with_it(tmp_path):
    count = film(Library().get("iris"), SPEECH, tmp_path / "film.mp4")
    with av.open(str(tmp_path / "film.mp4")) as container:
        pictures = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    with av.open(str(tmp_path / "film.mp4")) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert len(pictures) == count
    assert abs(len(sound) / 16_000 - count / 25) < 0.15
    lips = np.stack(pictures)[:, 290:380, 190:320].astype(float)
    change = np.abs(np.diff(lips, axis=0)).mean((1, 2))
    assert np.abs(sound).max() > 0.2
    assert change[20:60].mean() > 3 * change[2:10].mean()


def test_a_sheet_shows_every_picture_once():
    pictures = [np.full((10, 30, 3), level, np.uint8) for level in (10, 20, 40)]
    made = contact_sheet(pictures, ["a", "b", "c"], columns=2)
    assert made.shape == (2 * 32, 60, 3)
    for level in (10, 20, 40):
        assert (made == level).all(2).sum() >= 10 * 30


def test_the_sheet_of_visemes_shows_each_render_beside_what_the_network_draws(tmp_path):
    sheet.main([str(Path(__file__).parents[2] / "models" / "iris" / "source"), str(tmp_path / "sheet.png")])
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    assert picture.shape == (4 * (160 + 22), 4 * 448, 3)
    differ = []
    for row in range(4):
        for column in range(4):
            top, left = row * 182 + 22, column * 448
            render, drawn = (
                picture[top : top + 160, left + 224 * k : left + 224 * (k + 1)].astype(float) for k in (0, 1)
            )
            differ.append(np.abs(render - drawn).mean())
    assert max(differ) < 4
    assert min(differ) > 0
