"""Every published layout of a checkpoint loads, and nothing in one is run."""

import pickle
import zipfile

import numpy as np
import onnxruntime
import pytest
import torch

from tests.nets.seeded import encoder_arrays, generator_arrays
from webrtc_avatar.errors import InvalidCheckpoint
from webrtc_avatar.nets import synctalk2d_checkpoint
from webrtc_avatar.nets.synctalk2d_checkpoint import convert, load_checkpoint, load_weights

STATE = generator_arrays(160)
ENCODER = encoder_arrays()


class Opener:
    """What a pickle could do: write a file."""

    def __init__(self, path):
        self._path = str(path)

    def __reduce__(self):
        return (open, (self._path, "w"))


def tensors(arrays=STATE, prefix=""):
    return {prefix + key: torch.from_numpy(np.array(value)) for key, value in arrays.items()}


def k2(key: str) -> str:
    return key.replace("inc.inconv.0.", "inc.inconv.").replace("maxpool_conv.0.", "maxpool_conv.")


def same(arrays, others=STATE) -> bool:
    return arrays.keys() == others.keys() and all(np.array_equal(arrays[key], value) for key, value in others.items())


LAYOUTS = {
    "plain": tensors,
    "data parallel": lambda: tensors(prefix="module."),
    "training, with its optimizer": lambda: {"epoch": 99, "model": tensors(), "optimizer": {"state": {}, "lr": 0.1}},
    "state_dict": lambda: {"state_dict": tensors(prefix="module."), "optimizer": None, "global_step": 3},
    "newer keys": lambda: {k2(key): value for key, value in tensors().items()},
    "half precision": lambda: {
        key: value.half() if value.is_floating_point() else value for key, value in tensors().items()
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_loads(layout, tmp_path):
    torch.save(LAYOUTS[layout](), tmp_path / "net.pth")
    loaded = load_checkpoint(tmp_path / "net.pth")
    if layout == "half precision":
        assert loaded.keys() == STATE.keys()
        assert {value.dtype for value in loaded.values()} == {np.dtype(np.float32), np.dtype(np.int64)}
    else:
        assert same(loaded)


def test_files_of_before_the_zip_format_load(tmp_path):
    torch.save(tensors(), tmp_path / "net.pth", _use_new_zipfile_serialization=False)
    assert same(load_checkpoint(tmp_path / "net.pth"))


@pytest.mark.parametrize("prefix", ["", "audio_encoder.", "module.audio_encoder."])
def test_an_audio_encoder_loads_with_and_without_its_prefix(prefix, tmp_path):
    torch.save(tensors(ENCODER, prefix), tmp_path / "encoder.pth")
    assert same(load_checkpoint(tmp_path / "encoder.pth"), ENCODER)


def test_of_a_folder_the_largest_number_is_taken(tmp_path):
    for name in ("9", "14", "104", "last", "best99999"):
        torch.save({"name": torch.tensor([float(len(name))])}, tmp_path / f"{name}.pth")
    assert load_checkpoint(tmp_path)["name"][0] == 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidCheckpoint, match=r"no checkpoint such as 99\.pth"):
        load_checkpoint(tmp_path / "empty")


def write_torchscript(path):
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), path)


def write_pickle(path):
    path.write_bytes(pickle.dumps({"inc": Opener(path.with_name("written"))}))


def write_hidden_pickle(path):
    torch.save({"state_dict": {}, "extra": Opener(path.with_name("written"))}, path)


def write_whole_module(path):
    torch.save(torch.nn.Linear(2, 2), path)


def write_giant(path):
    torch.save({"inc": torch.zeros(1).expand(1 << 40)}, path)


def write_list(path):
    torch.save([torch.zeros(2)], path)


def write_numbers(path):
    torch.save({"epoch": 3}, path)


def write_infinite(path):
    torch.save({"weight": torch.tensor([1.0, float("inf")])}, path)


def write_empty(path):
    torch.save({}, path)


def write_noise(path):
    path.write_bytes(np.random.default_rng(0).bytes(5000))


def write_cut(path):
    torch.save({"weight": torch.zeros(50_000)}, path)
    path.write_bytes(path.read_bytes()[:100_000])


def write_bomb(path):
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("net/data/0", "w", force_zip64=True) as file,
    ):
        file.write(bytes(4 << 20))


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (write_torchscript, "TorchScript archive, which carries code"),
        (write_pickle, "could run code"),
        (write_hidden_pickle, "could run code"),
        (write_whole_module, "could run code"),
        (write_giant, "larger than what is stored"),
        (write_list, "holds a list"),
        (write_numbers, "'epoch' is a int"),
        (write_infinite, "infinite or missing"),
        (write_empty, "no tensors"),
        (write_noise, "damaged"),
        (write_cut, "damaged"),
        (write_bomb, "unpacks to more than"),
    ],
)
def test_what_is_no_state_is_refused_with_what_to_do(write, says, tmp_path, monkeypatch):
    monkeypatch.setattr(synctalk2d_checkpoint, "_MAX_BYTES", 3 << 20)
    path = tmp_path / "net.pth"
    write(path)
    with pytest.raises(InvalidCheckpoint, match=says):
        load_checkpoint(path)
    assert [file.name for file in tmp_path.iterdir()] == ["net.pth"]


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InvalidCheckpoint, match=r"no file 7\.pth"):
        load_checkpoint(tmp_path / "7.pth")


def test_what_is_converted_is_read_again_and_runs(tmp_path):
    convert(STATE, ENCODER, tmp_path)
    generator, encoder = load_weights(tmp_path / "weights.safetensors")
    assert same(generator)
    assert same(encoder, ENCODER)
    for name in ("image", "face", "audio"):
        onnxruntime.InferenceSession((tmp_path / f"{name}.onnx").read_bytes(), providers=["CPUExecutionProvider"])


def test_a_wav2lip_checkpoint_brings_the_encoder_too(tmp_path):
    wav2lip = {f"audio_encoder.{key}": value for key, value in ENCODER.items()}
    wav2lip["face_encoder_blocks.0.0.conv_block.0.weight"] = np.zeros((16, 6, 7, 7), np.float32)
    convert(STATE, wav2lip, tmp_path)
    assert same(load_weights(tmp_path / "weights.safetensors")[1], ENCODER)


def test_other_networks_are_refused_and_leave_nothing(tmp_path):
    odd = {**STATE, "up2.conv.double_conv.0.conv.0.weight": np.zeros((3, 7, 1, 1), np.float32)}
    short = {key: value for key, value in STATE.items() if key != "outc.conv.bias"}
    for generator, encoder, says in (
        (ENCODER, ENCODER, "no SyncTalk_2D network"),
        (odd, ENCODER, "no SyncTalk_2D network"),
        (short, ENCODER, "no SyncTalk_2D network"),
        (STATE, STATE, "audio encoder's checkpoint is not"),
    ):
        with pytest.raises(InvalidCheckpoint, match=says):
            convert(generator, encoder, tmp_path)
        assert list(tmp_path.iterdir()) == []
