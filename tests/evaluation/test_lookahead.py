"""Hearing fewer chunks costs more, and hearing all of them nothing."""

from itertools import pairwise

import numpy as np
import pytest

from tests.engine.synctalk_parts import chunks, make_avatar, published
from webrtc_avatar.engine.runtime.onnx import OnnxRuntime
from webrtc_avatar.engine.synctalk import SyncTalkModel
from webrtc_avatar.evaluation import lookahead


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return SyncTalkModel(make_avatar(tmp_path_factory.mktemp("seeded"), 160), OnnxRuntime(threads=1))


def test_each_chunk_less_costs_more(model, monkeypatch):
    monkeypatch.setattr(lookahead, "AROUND", ((10, 11), (10, 7), (8, 7), (10, 0)))
    sound = np.tile(published(160).sound, 2)
    costs = list(lookahead.lookahead_costs(model, chunks(sound)[:25]))
    assert [cost.exact_rows for cost in costs] == [16, 12, 10, 5]
    assert (costs[0].feature_error, costs[0].pixel_error) == (0, 0)
    assert all(one.feature_error < other.feature_error for one, other in pairwise(costs))
    assert costs[1].pixel_error < costs[3].pixel_error
    assert costs[0].pixel_psnr_db > costs[1].pixel_psnr_db > costs[3].pixel_psnr_db


def test_a_drawn_avatar_and_too_little_sound_are_refused(capsys):
    with pytest.raises(SystemExit):
        lookahead.main(["models/iris", "nothing.wav"])
    assert "drawn avatar" in capsys.readouterr().err
