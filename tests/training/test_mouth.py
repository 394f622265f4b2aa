import json

import cv2
import numpy as np
import onnxruntime
import pytest

onnx = pytest.importorskip("onnx")
torch = pytest.importorskip("torch")

from onnx import numpy_helper  # noqa: E402

from tests.avatar.package_parts import IRIS  # noqa: E402
from webrtc_avatar.avatar.compose import bgr, i420  # noqa: E402
from webrtc_avatar.nets import registry  # noqa: E402
from webrtc_avatar.nets.kernel_mouth import STATE  # noqa: E402
from webrtc_avatar.speech.visemes import VISEMES, WEIGHTS  # noqa: E402
from webrtc_avatar.training.mouth import Recipe, fit, main, psnr  # noqa: E402
from webrtc_avatar.training.mouth_data import load_mouths, write_facts, write_video  # noqa: E402
from webrtc_avatar.training.mouth_export import write_onnx  # noqa: E402

QUICK = Recipe(components=8, steps=5)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def mouths():
    return load_mouths(IRIS / "source")


@pytest.fixture(scope="module")
def shipped():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(IRIS / "mouth.onnx", options, providers=["CPUExecutionProvider"])


def draw(session, weights):
    """The network's own pictures: I420 (n, 240, 224)."""
    return session.run(["crop"], {"weights": np.atleast_2d(weights).astype(np.float32)})[0]


def seen(session, weights):
    """The same as BGR (n, 160, 224, 3)."""
    return np.stack([bgr(picture) for picture in draw(session, weights)])


def test_the_rendered_mouths_are_all_there(mouths):
    count = len(mouths.crops)
    assert count >= 949
    assert mouths.crops.shape == (count, 160, 224, 3)
    assert mouths.weights.shape == (count, 12)
    assert mouths.held_out.sum() == 100
    assert len(mouths.sweeps.crops) == 50
    assert mouths.weight_names == WEIGHTS


def test_held_out_mouths_and_sweeps_are_not_fitted(mouths):
    assert len(mouths.seen.weights) == len(mouths.weights) - 150
    held_out = {row.tobytes() for row in mouths.unseen.weights}
    assert not held_out & {row.tobytes() for row in mouths.seen.weights}
    known = {entry.name: numpy_helper.to_array(entry) for entry in onnx.load(IRIS / "mouth.onnx").graph.initializer}[
        "known"
    ]
    assert len(known) == len(mouths.seen.weights)


def test_fitting_twice_gives_the_same_bytes(mouths, tmp_path):
    few = mouths.take(np.arange(40))
    for name in ("first.onnx", "second.onnx"):
        write_onnx(fit(few, QUICK), tmp_path / name)
    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()


def test_a_learned_metric_draws_unseen_mouths_better(mouths):
    seen, unseen = mouths.take(np.arange(100)), mouths.take(np.arange(100, 130))
    plain, learned = (psnr(fit(seen, Recipe(components=24, steps=steps)), unseen).mean() for steps in (0, 20))
    assert learned > plain + 1.5


def test_the_command_writes_a_network_and_reports_its_quality(mouths, tmp_path, capsys, monkeypatch):
    chosen = np.r_[np.arange(24), np.flatnonzero(mouths.held_out)[:4]]
    few = mouths.take(chosen)
    names = [f"{index:04d}.png" for index in range(len(chosen))]
    held_out = [name for name, held in zip(names, few.held_out, strict=True) if held]
    crops = [
        {"file": name, "kind": "corner", "weights": weights.tolist()}
        for name, weights in zip(names, few.weights, strict=True)
    ]
    write_facts({"weights": list(WEIGHTS), "held_out": held_out, "crops": crops}, tmp_path / "mouth.json")
    write_video(few.crops, tmp_path / "mouths.mkv")
    monkeypatch.setattr("sys.argv", ["mouth", str(tmp_path), str(tmp_path / "mouth.onnx"), "--components", "4"])
    main()
    assert f"lips of {len(held_out)} held-out crops: mean" in capsys.readouterr().out
    assert draw(onnxruntime.InferenceSession(tmp_path / "mouth.onnx"), few.weights).shape == (len(few.crops), 240, 224)


def test_single_pictures_and_a_video_load_alike(mouths, tmp_path):
    few = mouths.take(np.arange(3))
    crops = [{"file": f"{index}.png", "kind": "corner", "weights": few.weights[index].tolist()} for index in range(3)]
    write_facts({"weights": list(WEIGHTS), "held_out": ["1.png"], "crops": crops}, tmp_path / "mouth.json")
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.png"), few.crops[index])
    loaded = load_mouths(tmp_path)
    assert np.array_equal(loaded.crops, few.crops)
    assert loaded.held_out.tolist() == [False, True, False]
    write_video(few.crops, tmp_path / "mouths.mkv")
    error = load_mouths(tmp_path).crops.astype(float) - few.crops
    assert 10 * np.log10(255**2 / (error**2).mean()) > 45


def test_a_missing_picture_and_a_short_video_are_named(mouths, tmp_path):
    facts = json.loads((IRIS / "source" / "mouth.json").read_text())
    write_facts({**facts, "crops": facts["crops"][:3]}, tmp_path / "mouth.json")
    with pytest.raises(FileNotFoundError, match=r"0000\.png is missing"):
        load_mouths(tmp_path)
    write_video(mouths.crops[:2], tmp_path / "mouths.mkv")
    with pytest.raises(ValueError, match=r"has 2 frames, mouth\.json lists 3 crops"):
        load_mouths(tmp_path)


def test_the_shipped_mouth_draws_its_crops(shipped, mouths):
    wanted = np.stack([bgr(i420(crop)) for crop in mouths.crops[::10]])
    error = (seen(shipped, mouths.weights[::10]).astype(float) - wanted)[:, 30:130, 40:184] ** 2
    assert (10 * np.log10(255**2 / error.mean((1, 2, 3)))).mean() > 40


def test_the_shipped_mouth_meets_the_plate_without_a_seam(shipped):
    plate = cv2.imread(str(IRIS / "plate.png"))[248:408, 144:368].astype(float)
    line = np.zeros(plate.shape[:2], bool)
    line[[8, -9], 8:-8] = line[8:-8, [8, -9]] = True
    for weights in (np.zeros(12), VISEMES["PP"], VISEMES["aa"], VISEMES["U"], VISEMES["FF"]):
        assert np.abs(seen(shipped, weights)[0] - plate)[line].mean() < 3


@pytest.mark.parametrize("viseme", ["sil", "PP"])
def test_closed_lips_show_no_teeth(shipped, mouths, viseme):
    rendered = mouths.crops[np.flatnonzero((mouths.weights == VISEMES[viseme]).all(1))[0]]
    between_lips = (slice(50, 85), slice(70, 155))
    drawn = seen(shipped, VISEMES[viseme])[0]
    whitest, wanted = (crop[between_lips].min(2).max() for crop in (drawn, rendered))
    assert abs(int(whitest) - int(wanted)) <= 8
    assert seen(shipped, VISEMES["aa"])[0][between_lips].min(2).max() > wanted + 40


def test_torch_draws_what_onnx_runtime_draws(shipped, mouths):
    graph = onnx.load(IRIS / "mouth.onnx").graph
    arrays = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    module = registry.build("kernel_mouth", arrays)
    assert set(module.state_dict()) == set(STATE) <= set(arrays)
    weights = mouths.weights[:60]
    with torch.inference_mode():
        drawn = module(torch.from_numpy(weights)).numpy()
    difference = np.abs(drawn.astype(int) - draw(shipped, weights))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


def test_a_batch_draws_what_single_calls_draw(shipped, mouths):
    weights = mouths.weights[5:9]
    difference = draw(shipped, weights).astype(int) - np.concatenate([draw(shipped, row) for row in weights])
    assert np.abs(difference).max() <= 1


def test_wild_weights_draw_a_picture_all_the_same(shipped):
    crops = draw(shipped, np.array([np.full(12, 50.0), np.full(12, -50.0)]))
    assert crops.dtype == np.uint8
    assert 40 < crops.mean() < 200


def test_arrays_that_do_not_fit_each_other_are_refused(mouths):
    state = {name: tensor.numpy() for name, tensor in fit(mouths.take(np.arange(20)), QUICK).state_dict().items()}
    with pytest.raises(ValueError, match="do not fit each other"):
        registry.build("kernel_mouth", {**state, "coefficients": state["coefficients"][:-1]})
    with pytest.raises(KeyError, match="basis"):
        registry.build("kernel_mouth", {name: array for name, array in state.items() if name != "basis"})
    with pytest.raises(KeyError):
        registry.network_class("unheard_of")
