"""Networks that come as ONNX files are found out, and run as those from checkpoints do."""

import io
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tests.nets.seeded import encoder_arrays, generator_arrays, vector_inputs
from webrtc_avatar.avatar.importing.draft import Draft
from webrtc_avatar.avatar.importing.networks import add_networks
from webrtc_avatar.errors import InvalidCheckpoint
from webrtc_avatar.nets.synctalk2d import MelEncoder, SyncTalk2D
from webrtc_avatar.nets.synctalk2d_graph import audio_graph, whole_graph
from webrtc_avatar.nets.synctalk2d_onnx import load_onnx

STATE = generator_arrays(160)


def export(network, inputs, names, *, folded: bool) -> bytes:
    """Export as torch does, with its own names of tensors, normalisation folded or not."""
    file = io.BytesIO()
    training = torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            inputs,
            file,
            dynamo=False,
            opset_version=17,
            input_names=names,
            training=training,
            do_constant_folding=folded,
        )
    return file.getvalue()


@pytest.fixture(scope="module")
def encoder_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "encoder.onnx"
    path.write_bytes(export(MelEncoder.from_arrays(encoder_arrays()), torch.zeros(1, 1, 80, 16), ["mel"], folded=False))
    assert {node.op_type for node in onnx.load(path).graph.node} >= {"Conv", "BatchNormalization"}
    return path


@pytest.fixture(scope="module")
def generator_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "generator.onnx"
    image, audio = (torch.from_numpy(array[:1].astype(np.float32)) for array in vector_inputs(160))
    path.write_bytes(export(SyncTalk2D.from_arrays(STATE), (image, audio), ["input", "audio"], folded=True))
    return path


def run(graph: bytes, feeds: dict[str, np.ndarray]) -> np.ndarray:
    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"]).run(None, feeds)[0]


def test_an_exported_network_is_found_out(generator_file, encoder_file):
    generator, encoder = load_onnx(generator_file, encoder_file)
    image, audio = vector_inputs(160)
    feeds = {"image": image[:1].astype(np.float32) / 255, "audio": audio[:1]}
    np.testing.assert_allclose(run(whole_graph(generator), feeds), run(whole_graph(STATE), feeds), atol=1e-4)
    mel = {"mel": np.random.default_rng(2).uniform(-4, 4, (2, 80, 16)).astype(np.float32)}
    np.testing.assert_allclose(run(audio_graph(encoder), mel), run(audio_graph(encoder_arrays()), mel), atol=1e-4)


def test_an_import_of_onnx_files_keeps_them_cut_where_they_are_known(generator_file, encoder_file, tmp_path):
    with Draft(tmp_path, "known", force=False) as draft:
        made = add_networks(draft, generator_file, encoder_file)
        names = {file.name for file in draft.folder.iterdir()}
    assert (made.kind, made.size) == ("synctalk2d", 160)
    assert names >= set(made.files.values()) == {"weights.safetensors", "image.onnx", "face.onnx", "audio.onnx"}


def test_what_only_looks_alike_is_refused(generator_file, encoder_file, tmp_path):
    model = onnx.load(generator_file)
    next(node for node in model.graph.node if node.op_type == "Sigmoid").op_type = "Tanh"
    path = tmp_path / "generator.onnx"
    onnx.save(model, path)
    with pytest.raises(InvalidCheckpoint):
        load_onnx(path, encoder_file)
    with pytest.raises(InvalidCheckpoint):
        load_onnx(encoder_file, encoder_file)
    path.write_bytes(b"nothing")
    with pytest.raises(InvalidCheckpoint):
        load_onnx(path, encoder_file)
