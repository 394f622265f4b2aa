from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from onnx import numpy_helper  # noqa: E402

from webrtc_avatar.nets.speech_tcn import FF, JAW, JAW_RANGE, PEAK_SHARE, PP, SpeechNet, jaw_scale, pool  # noqa: E402
from webrtc_avatar.training.ear import NormedEar, Trainer  # noqa: E402
from webrtc_avatar.training.ear_export import export_ear  # noqa: E402
from webrtc_avatar.training.ear_report import load_ear  # noqa: E402
from webrtc_avatar.training.phonemes import Segment  # noqa: E402
from webrtc_avatar.training.utterances import Utterance  # noqa: E402
from webrtc_avatar.training.visemes import VISEME_VECTORS  # noqa: E402

EAR = Path(__file__).parents[2] / "models" / "iris" / "ear.onnx"


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def _windows(count: int) -> np.ndarray:
    return np.random.default_rng(3).normal(-4, 4, (count, 33, 80)).astype(np.float32)


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
    assert EAR.stat().st_size < 1_500_000
    assert np.array_equal(_from_onnx(EAR).vectors.numpy(), VISEME_VECTORS)


def test_outputs_are_a_distribution_and_its_mouth_but_for_the_loudness_of_the_jaw():
    windows = _windows(4)
    weights, visemes = load_ear(EAR)(windows)
    assert np.allclose(visemes.sum(1), 1, atol=1e-4)
    mouth = visemes @ VISEME_VECTORS
    assert np.allclose(weights[:, JAW + 1 :], mouth[:, JAW + 1 :], atol=1e-5)
    scale = weights[:, JAW] / mouth[:, JAW]
    assert np.allclose(scale, jaw_scale(torch.from_numpy(windows))[:, 0].numpy(), atol=1e-4)


def test_the_jaw_opens_less_for_a_whisper_and_more_for_a_shout():
    silent, loud = torch.full((1, 33, 80), -13.8), torch.full((1, 33, 80), 5.0)
    assert jaw_scale(silent).item() == pytest.approx(JAW_RANGE[0])
    assert jaw_scale(loud).item() == pytest.approx(JAW_RANGE[1])


def test_pooling_leans_towards_a_closure_of_a_single_row():
    probabilities = torch.zeros((1, 16, 4))
    probabilities[:, 10] = 1.0
    probabilities[:, 10, 2], probabilities[:, PP, 2] = 0.1, 0.9
    pooled = pool(probabilities)[0]
    assert pooled[PP].item() == pytest.approx(0.9 / 4 * (1 - PEAK_SHARE) + 0.9 * PEAK_SHARE)
    assert pooled[PP] + pooled[10] == pytest.approx(1.0, abs=1e-4)


def test_two_closures_in_one_frame_share_it():
    probabilities = torch.zeros((1, 16, 4))
    probabilities[:, PP, :2], probabilities[:, FF, 2:] = 1.0, 1.0
    pooled = pool(probabilities)[0]
    assert pooled.sum().item() == pytest.approx(1.0)
    assert pooled[PP].item() == pytest.approx(0.5)


def test_folding_normalization_changes_nothing():
    torch.manual_seed(0)
    net = NormedEar(channels=16)
    net.logits(torch.from_numpy(_windows(8)))
    for norm in net.norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 2)
    net.eval()
    windows = torch.from_numpy(_windows(2))
    with torch.inference_mode():
        assert torch.allclose(net.logits(windows), net.folded().logits(windows), atol=1e-4)
        assert torch.allclose(1.5 * net.logits(windows), net.folded(sharpness=1.5).logits(windows), atol=1e-4)


def test_a_longer_stretch_gives_the_same_rows_as_windows_of_it():
    net = SpeechNet(channels=8).eval()
    rows = torch.from_numpy(_windows(1).repeat(2, axis=1))
    with torch.inference_mode():
        whole, part = net.logits(rows), net.logits(rows[:, 4:37])
    assert whole.shape == (1, 16, 66 - 29)
    assert torch.allclose(whole[..., 4:8], part, atol=1e-5)


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
    assert weights.shape == (1, 12)
    assert visemes.shape == (1, 16)
