from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from onnx import numpy_helper  # noqa: E402

from webrtc_avatar.evaluation.ear import load_ear  # noqa: E402
from webrtc_avatar.nets.speech_tcn import (  # noqa: E402
    JAW,
    JAW_RANGE,
    LOOKAHEADS,
    ROWS_PER_CHUNK,
    WINDOW_ROWS,
    SpeechNet,
    jaw_scale,
    loudness_rows,
)
from webrtc_avatar.speech.phonemes import Segment  # noqa: E402
from webrtc_avatar.speech.visemes import VISEME_NAMES, VISEME_VECTORS  # noqa: E402
from webrtc_avatar.training.ear import CROP_ROWS, Trainer, by_delay  # noqa: E402
from webrtc_avatar.training.ear_export import export_ear  # noqa: E402
from webrtc_avatar.training.ear_net import NormedEar  # noqa: E402
from webrtc_avatar.training.utterances import Utterance  # noqa: E402

EAR = Path(__file__).parents[2] / "models" / "iris" / "ear.onnx"


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def _windows(count: int) -> np.ndarray:
    return np.random.default_rng(3).normal(-4, 4, (count, WINDOW_ROWS, 80)).astype(np.float32)


def _from_onnx(path: Path) -> SpeechNet:
    graph = onnx.load_model_from_string(path.read_bytes()).graph
    return SpeechNet.from_arrays({entry.name: numpy_helper.to_array(entry).copy() for entry in graph.initializer})


def test_torch_and_onnx_runtime_agree_on_the_shipped_ear():
    windows = _windows(9)
    with torch.inference_mode():
        expected = _from_onnx(EAR)(torch.from_numpy(windows))
    for ours, theirs in zip(expected, load_ear(EAR)(windows), strict=True):
        assert np.allclose(ours.numpy(), theirs, atol=1e-4)


def test_the_shipped_ear_is_small_and_holds_the_viseme_vectors():
    assert EAR.stat().st_size < 2_500_000
    assert np.array_equal(_from_onnx(EAR).vectors.numpy(), VISEME_VECTORS)


def test_outputs_are_a_distribution_and_its_mouth_but_for_the_loudness_of_the_jaw():
    windows = _windows(4)
    weights, visemes = load_ear(EAR)(windows)
    assert visemes.shape == (4, LOOKAHEADS, 16)
    assert np.allclose(visemes.sum(2), 1, atol=1e-4)
    mouth = visemes @ VISEME_VECTORS
    assert np.allclose(weights[..., JAW + 1 :], mouth[..., JAW + 1 :], atol=1e-5)
    scale = weights[..., JAW] / mouth[..., JAW]
    assert np.allclose(scale, jaw_scale(torch.from_numpy(windows))[..., 0].numpy(), atol=1e-4)


def test_the_jaw_opens_less_for_a_whisper_and_more_for_a_shout():
    silent, loud = (torch.full((1, WINDOW_ROWS, 80), level) for level in (-13.8, 5.0))
    assert jaw_scale(silent).tolist() == [[[pytest.approx(JAW_RANGE[0])]] * LOOKAHEADS]
    assert jaw_scale(loud).tolist() == [[[pytest.approx(JAW_RANGE[1])]] * LOOKAHEADS]


@pytest.mark.parametrize("lookahead", range(LOOKAHEADS))
def test_loudness_is_that_of_the_chunk_itself(lookahead):
    own_first = WINDOW_ROWS - 3 - ROWS_PER_CHUNK * lookahead
    rows = loudness_rows(lookahead)
    assert rows.start <= own_first
    assert min(own_first + ROWS_PER_CHUNK, WINDOW_ROWS) <= rows.stop <= WINDOW_ROWS


def _trained_a_little() -> NormedEar:
    torch.manual_seed(0)
    net = NormedEar(channels=16, hidden=24)
    net.logits(torch.from_numpy(_windows(8)))
    for norm in (*net.norms, net.head_norm):
        torch.nn.init.uniform_(norm.weight, 0.5, 2)
    return net.eval()


def test_a_window_is_answered_as_the_long_stretch_that_training_sees_with_normalization_folded_away():
    net = _trained_a_little()
    rows = torch.from_numpy(_windows(1).repeat(2, axis=1))
    with torch.inference_mode():
        told = net.logits(rows)
        assert told.shape == (1, WINDOW_ROWS + 1, 16, 16)
        for newest in (WINDOW_ROWS - 1, WINDOW_ROWS + 4):
            by_lookahead = net.folded().answers(rows[:, newest - WINDOW_ROWS + 1 : newest + 1])[0]
            for lookahead in range(LOOKAHEADS):
                # The chunk's four rows in order of time are the delays from the longest to the shortest.
                delays = range(4 * lookahead + 3, 4 * lookahead - 1, -1)
                expected = told[0, newest - WINDOW_ROWS + 1, list(delays)]
                assert torch.allclose(by_lookahead[lookahead], expected, atol=1e-4)


def test_sharpness_multiplies_the_logits():
    net, windows = _trained_a_little(), torch.from_numpy(_windows(2))
    with torch.inference_mode():
        assert torch.allclose(
            1.5 * net.folded().answers(windows), net.folded(sharpness=1.5).answers(windows), atol=1e-4
        )


def test_leaning_adds_to_one_viseme_at_every_delay():
    net, windows = _trained_a_little(), torch.from_numpy(_windows(2))
    with torch.inference_mode():
        more = net.folded(leaning={"U": 0.5}).answers(windows) - net.folded().answers(windows)
    expected = torch.zeros(16)
    expected[VISEME_NAMES.index("U")] = 0.5
    assert torch.allclose(more, expected.expand_as(more), atol=1e-5)


def test_answers_are_taught_by_the_rows_at_their_delays():
    rows = CROP_ROWS + WINDOW_ROWS
    shares = np.arange(rows, dtype=np.float32)[:, None].repeat(16, 1)
    told = by_delay(shares)
    assert told.shape == (CROP_ROWS, 16, 16)
    newest = WINDOW_ROWS - 1 + np.arange(CROP_ROWS)
    for delay in (-1, 0, 14):
        assert np.array_equal(told[:, delay + 1, 0], newest - delay)


def test_training_is_reproducible_from_its_seed(tmp_path):
    time_s = np.arange(16_000) / 16_000
    tone = (0.5 * np.sin(2 * np.pi * 300 * time_s)).astype(np.float32)
    utterances = [Utterance("tone", np.concatenate([tone, 0 * tone]), [Segment(0.0, 1.0, "aa")])]

    def trained(seed: int) -> np.ndarray:
        *_, (step, net) = Trainer(utterances, seed, channels=16).run(12)
        assert step == 12
        export_ear(net, tmp_path / "ear.onnx")
        return net.exit.weight.detach().numpy()

    first = trained(1)
    assert np.array_equal(first, trained(1))
    assert not np.array_equal(first, trained(2))
    weights, visemes = load_ear(tmp_path / "ear.onnx")(_windows(1))
    assert weights.shape == (1, LOOKAHEADS, 12)
    assert visemes.shape == (1, LOOKAHEADS, 16)
