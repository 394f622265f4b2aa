from pathlib import Path

import cv2
import numpy as np
import pytest

from webrtc_avatar.evaluation import sheet
from webrtc_avatar.evaluation.sheet import contact_sheet


def test_a_sheet_shows_every_picture_once():
    pictures = [np.full((10, 30, 3), level, np.uint8) for level in (10, 20, 40)]
    made = contact_sheet(pictures, ["a", "b", "c"], columns=2)
    assert made.shape == (2 * 32, 60, 3)
    for level in (10, 20, 40):
        assert (made == level).all(2).sum() >= 10 * 30


def test_the_sheet_of_visemes_shows_each_render_beside_what_the_network_draws(tmp_path):
    sheet.main([str(Path(__file__).parents[2] / "models" / "iris" / "source"), str(tmp_path / "sheet.png")])
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    assert b"compositeWithTrainedAlgorithmicMedia" in (tmp_path / "sheet.png").read_bytes()
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


def test_a_sheet_that_cannot_be_written_is_told(tmp_path, capsys):
    for name in ("sheet.unknown", "none/sheet.webp"):
        with pytest.raises(SystemExit):
            sheet.main([str(Path(__file__).parents[2] / "models" / "iris" / "source"), str(tmp_path / name)])
        assert "could not be written" in capsys.readouterr().err
