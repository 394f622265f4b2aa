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
    path.write_bytes(export(MelEncoder.from_arrays(encoder_arrays()), torch.zeros(1, 1, 80, 16), ["mel"], folded=True))
    return path


@pytest.mark.parametrize(("kind", "folded"), [(160, False), (328, True)])
def test_an_exported_network_is_found_out(kind, folded, encoder_file, tmp_path):
    state = generator_arrays(kind)
    image, audio = (torch.from_numpy(array[:1].astype(np.float32)) for array in vector_inputs(kind))
    path = tmp_path / "generator.onnx"
    path.write_bytes(export(SyncTalk2D.from_arrays(state), (image / 255, audio), ["input", "audio"], folded=folded))
    generator, encoder = load_onnx(path, encoder_file)
    feeds = {"image": image.numpy() / 255, "audio": audio.numpy()}
    found, known = (
        onnxruntime.InferenceSession(whole_graph(arrays), providers=["CPUExecutionProvider"]).run(None, feeds)[0]
        for arrays in (generator, state)
    )
    np.testing.assert_allclose(found, known, atol=1e-4)
    assert audio_graph(encoder)


def test_an_import_of_onnx_files_keeps_them_cut_where_they_are_known(encoder_file, tmp_path):
    path = tmp_path / "generator.onnx"
    network = SyncTalk2D.from_arrays(generator_arrays(160))
    inputs = torch.zeros(1, 6, 160, 160), torch.zeros(1, 32, 16, 16)
    path.write_bytes(export(network, inputs, ["input", "audio"], folded=True))
    with Draft(tmp_path, "known", force=False) as draft:
        made = add_networks(draft, path, encoder_file)
        names = {file.name for file in draft.folder.iterdir()}
    assert (made.kind, made.size) == ("synctalk2d", 160)
    assert names >= set(made.files.values()) == {"weights.safetensors", "image.onnx", "face.onnx", "audio.onnx"}


def test_what_only_looks_alike_is_refused(encoder_file, tmp_path):
    model = onnx.load_from_string(whole_graph(generator_arrays(160)))
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
