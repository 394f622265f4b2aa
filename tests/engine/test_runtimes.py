"""Both runtimes give the same from the same file, and both refuse files that are something else."""

from pathlib import Path

import numpy as np
import pytest

from webrtc_avatar.avatar.library import Library, default_folders
from webrtc_avatar.engine.runtime import open_runtime, open_runtimes
from webrtc_avatar.engine.runtime.onnx import OnnxRuntime
from webrtc_avatar.engine.runtime.torch import TorchRuntime
from webrtc_avatar.engine.viseme import VisemeModel
from webrtc_avatar.errors import EngineFailure, InvalidAvatar
from webrtc_avatar.settings import Settings

AVATAR = Library(default_folders()).get("iris")
RNG = np.random.default_rng(0)


def test_onnx_and_torch_agree_to_a_thousandth():
    onnx, torch = OnnxRuntime(threads=1), TorchRuntime("cpu", threads=1)
    windows = RNG.normal(-6, 3, (5, 64, 80)).astype(np.float32)
    expected = onnx.load(AVATAR.model.ear, "speech_tcn")({"mel": windows})
    heard = torch.load(AVATAR.model.ear, "speech_tcn")({"mel": windows})
    assert sorted(heard) == sorted(expected) == ["visemes", "weights"]
    for name, values in expected.items():
        np.testing.assert_allclose(heard[name], values, atol=1e-3)
    weights = RNG.uniform(0, 0.6, (5, 12)).astype(np.float32)
    crops = onnx.load(AVATAR.model.mouth, "kernel_mouth")({"weights": weights})["crop"]
    drawn = torch.load(AVATAR.model.mouth, "kernel_mouth")({"weights": weights})["crop"]
    assert drawn.dtype == crops.dtype == np.uint8
    assert np.abs(drawn.astype(int) - crops).max() <= 1


def test_a_batch_equals_its_frames_alone():
    model = VisemeModel(AVATAR, OnnxRuntime(threads=1))
    windows = RNG.normal(-6, 3, (7, 64, 80)).astype(np.float32)
    together = model.encode_audio(windows)
    alone = np.concatenate([model.encode_audio(window[None]) for window in windows])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.abs(model.draw(together).astype(int) - np.concatenate([model.draw(w[None]) for w in alone])).max() <= 1


@pytest.mark.parametrize("runtime", [OnnxRuntime(threads=1), TorchRuntime("cpu", threads=1)], ids=["onnx", "torch"])
def test_a_file_that_is_no_network_is_refused_with_what_to_do(runtime, tmp_path: Path):
    broken = tmp_path / "ear.onnx"
    broken.write_bytes(b"not a network")
    with pytest.raises(InvalidAvatar, match=r"ear\.onnx .*export it again"):
        runtime.load(broken, "speech_tcn")


def test_the_wrong_network_is_refused_by_the_torch_runtime():
    with pytest.raises(InvalidAvatar, match="kernel_mouth"):
        TorchRuntime("cpu", threads=1).load(AVATAR.model.ear, "kernel_mouth")


def test_swapped_networks_are_noticed_at_load(tmp_path):
    from dataclasses import replace

    swapped = replace(AVATAR, model=replace(AVATAR.model, mouth=AVATAR.model.ear))
    with pytest.raises(InvalidAvatar):
        VisemeModel(swapped, OnnxRuntime(threads=1))


def test_auto_takes_onnx_without_a_gpu():
    assert open_runtime(Settings(device="cpu")).name == "onnxruntime:cpu"


def test_a_list_of_devices_gives_a_runtime_each_and_the_same_twice_two():
    runtimes = open_runtimes(Settings(device="cpu, CPU"))
    assert [(runtime.name, runtime.device, runtime.precision) for runtime in runtimes] == [
        ("onnxruntime:cpu", "cpu", "float32")
    ] * 2
    assert runtimes[0] is not runtimes[1]


def test_torch_on_a_cpu_computes_in_bfloat16_when_told_to():
    runtime = open_runtime(Settings(device="cpu", runtime="torch", precision="bfloat16"))
    assert (runtime.name, runtime.precision) == ("torch:cpu", "bfloat16")
    windows = RNG.normal(-6, 3, (2, 64, 80)).astype(np.float32)
    heard = runtime.load(AVATAR.model.ear, "speech_tcn")({"mel": windows})["weights"]
    full = TorchRuntime("cpu", threads=1).load(AVATAR.model.ear, "speech_tcn")({"mel": windows})["weights"]
    assert heard.dtype == np.float32
    assert 0 < np.abs(heard - full).max() < 0.05


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"device": "cuda:7"}, "sees no CUDA device; set device to cpu"),
        ({"device": "cpu,cuda:0"}, "sees no CUDA device; set device to cpu"),
        ({"device": "gpu"}, "there is no device 'gpu'; set device to auto, cpu, mps"),
        ({"device": "mps"}, "sees no Apple GPU; set device to cpu"),
        ({"device": "mps", "runtime": "onnx"}, "does not run on mps"),
        (
            {"device": "cuda:0", "runtime": "onnx"},
            "needs CUDAExecutionProvider; the installed onnxruntime .* has .*CPU",
        ),
        ({"device": "cuda:0", "runtime": "tensorrt"}, "needs TensorrtExecutionProvider; .*pip install onnxruntime-gpu"),
        ({"device": "cpu", "runtime": "tensorrt"}, "runs on CUDA devices, not on cpu"),
        ({"device": "cpu", "precision": "float16"}, "float32 on a CPU; set precision to auto"),
        ({"device": "cpu", "runtime": "torch", "precision": "float16"}, "float32 or bfloat16"),
    ],
)
def test_a_device_that_is_not_there_is_refused_with_what_to_do(asked, message):
    with pytest.raises(EngineFailure, match=message):
        open_runtimes(Settings(**asked))
