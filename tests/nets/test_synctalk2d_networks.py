"""The networks are the published ones: with weights from a seed they give the published numbers."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from tests.nets.seeded import SHAPES, encoder_arrays, generator_arrays, vector_inputs
from webrtc_avatar.nets.synctalk2d import MelEncoder, SyncTalk2D
from webrtc_avatar.nets.synctalk2d_folded import mask
from webrtc_avatar.nets.synctalk2d_graph import audio_graph, face_graph, image_graph, whole_graph
from webrtc_avatar.nets.synctalk2d_shape import shape_of
from webrtc_avatar.nets.synctalk2d_torch import FoldedSyncTalk2D

VECTORS = Path(__file__).parents[1] / "interop" / "vectors"
CPU = torch.device("cpu")


def run(graph: bytes, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"]).run(None, feeds)


@pytest.fixture(params=[160, 328], scope="module")
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def state(kind):
    return generator_arrays(kind)


def assert_is_published(output: np.ndarray, kind: int) -> None:
    with np.load(VECTORS / f"synctalk2d_{kind}_ave.npz", allow_pickle=False) as published:
        stride = int(published["stride"])
        np.testing.assert_allclose(output[:, :, ::stride, ::stride], published["output"], atol=1e-4)
        np.testing.assert_allclose(output.mean((2, 3), dtype=np.float64), published["output_mean"], atol=1e-6)
        np.testing.assert_allclose((output.astype(np.float64) ** 2).sum((2, 3)), published["output_sumsq"], rtol=1e-5)


def inputs(kind: int) -> tuple[np.ndarray, np.ndarray]:
    image, audio = vector_inputs(kind)
    return image.astype(np.float32) / 255, audio


def crops(kind: int, count: int = 1) -> np.ndarray:
    side = SHAPES[kind].crop_size
    rough = np.random.default_rng(5).uniform(0, 256, (count, side // 8, side // 8, 3))
    return np.ascontiguousarray(rough.repeat(8, 1).repeat(8, 2).astype(np.uint8))


def test_seeded_weights_are_the_published_ones(kind, state):
    with np.load(VECTORS / f"synctalk2d_{kind}_ave.npz", allow_pickle=False) as published:
        total = sum(float(value.astype(np.float64).sum()) for value in state.values())
        assert total == pytest.approx(float(published["weight_total_sum"]), abs=1e-6)
    assert shape_of(state) == SHAPES[kind]


def test_the_torch_module_gives_the_published_faces(kind, state):
    image, audio = inputs(kind)
    with torch.inference_mode():
        output = SyncTalk2D.from_arrays(state)(torch.from_numpy(image), torch.from_numpy(audio))
    assert_is_published(output.numpy(), kind)


def test_the_graph_gives_the_published_faces(kind, state):
    image, audio = inputs(kind)
    assert_is_published(run(whole_graph(state), {"image": image, "audio": audio})[0], kind)


def test_cut_in_two_with_kept_maps_the_graph_gives_what_the_module_gives(kind, state):
    crop, audio = crops(kind), vector_inputs(kind)[1]
    maps = run(image_graph(state), {"crop": crop})
    # One frame of footage serves two sounds.
    feeds = {f"map{level}": np.repeat(kept, 2, axis=0) for level, kept in enumerate(maps)}
    faces = run(face_graph(state), {**feeds, "audio": audio})[0]
    inner = crop[:, 4:-4, 4:-4].transpose(0, 3, 1, 2).astype(np.float32) / 255
    image = np.repeat(np.concatenate([inner, inner * mask(inner.shape[2])], axis=1), 2, axis=0)
    with torch.inference_mode():
        whole = SyncTalk2D.from_arrays(state)(torch.from_numpy(image), torch.from_numpy(audio)).numpy()
    exact = whole.transpose(0, 2, 3, 1) * np.float32(255)
    assert faces.dtype == np.uint8
    assert np.abs(faces[0].astype(int) - faces[1]).max() > 2, "two sounds, two faces"
    # A whole number that a sum in another order misses by a hair is cut off to the level below.
    np.testing.assert_allclose(faces, np.floor(exact), atol=1)
    assert (faces != np.floor(exact)).mean() < 1e-3


@pytest.mark.parametrize(("dtype", "most", "share"), [(torch.float32, 1, 1e-3), (torch.bfloat16, 12, 1)])
def test_folded_on_torch_gives_what_the_graphs_give(dtype, most, share):
    kind, state = 160, generator_arrays(160)
    crop, audio = crops(kind), vector_inputs(kind)[1][:1]
    maps = run(image_graph(state), {"crop": crop})
    expected = run(face_graph(state), {**{f"map{n}": kept for n, kept in enumerate(maps)}, "audio": audio})[0]
    network = FoldedSyncTalk2D(state, {}, CPU, dtype)
    with torch.inference_mode():
        made = network.faces(network.maps(torch.from_numpy(crop)), torch.from_numpy(audio)).numpy()
        again = network.faces(network.maps(torch.from_numpy(crop)), torch.from_numpy(audio)).numpy()
    assert np.array_equal(made, again), "the first call must not change what is kept"
    difference = np.abs(made.astype(int) - expected)
    assert difference.max() <= most
    assert (difference > 0).mean() <= share


def test_masked_is_what_the_original_masks():
    assert (mask(160) == 0).sum() == 21_750
    assert (mask(320) == 0).sum() == 94_550
    assert not mask(160)[5:150, 5:155].any()
    assert not mask(320)[5:310, 5:315].any()


def test_the_audio_encoder_is_one_network_on_both_runtimes():
    state = encoder_arrays()
    mel = np.random.default_rng(3).uniform(-4, 4, (3, 80, 16)).astype(np.float32)
    rows = run(audio_graph(state), {"mel": mel})[0]
    with torch.inference_mode():
        plain = MelEncoder.from_arrays(state)(torch.from_numpy(mel[:, None])).numpy()
        folded = FoldedSyncTalk2D(generator_arrays(160), state, CPU, torch.float16).rows(torch.from_numpy(mel)).numpy()
    assert rows.shape == (3, 512)
    np.testing.assert_allclose(rows, plain, atol=1e-4)
    np.testing.assert_allclose(folded, plain, atol=1e-4)


def test_hubert_and_wenet_features_have_branches_of_their_own():
    from dataclasses import replace

    for mode, stride, heard, size in (("hubert", (2, 2), 32, (32, 32)), ("wenet", (1, 2), 256, (16, 32))):
        audio = (32, 64, 128, 256, 256, 512) if mode == "hubert" else (256, 256, 256, 256, 256, 512)
        network = SyncTalk2D(replace(SHAPES[160], audio=audio, audio_stride=stride)).eval()
        arrays = {key: value.numpy() for key, value in network.state_dict().items()}
        image = np.random.default_rng(0).uniform(0, 1, (1, 6, 160, 160)).astype(np.float32)
        features = np.random.default_rng(1).normal(0, 1, (1, heard, *size)).astype(np.float32)
        with torch.inference_mode():
            expected = network(torch.from_numpy(image), torch.from_numpy(features)).numpy()
        output = run(whole_graph(arrays, mode), {"image": image, "audio": features})[0]
        np.testing.assert_allclose(output, expected, atol=1e-4)


def test_numbers_too_large_for_half_precision_are_noticed():
    state = generator_arrays(160)
    large = {**state, "up4.conv.double_conv.0.conv.1.weight": state["up4.conv.double_conv.0.conv.1.weight"] * 3e5}
    crop, audio = torch.from_numpy(crops(160)), torch.from_numpy(vector_inputs(160)[1][:1])
    with torch.inference_mode():
        assert not FoldedSyncTalk2D(large, {}, CPU, torch.float32).overflows(crop, audio)
        assert FoldedSyncTalk2D(large, {}, CPU, torch.float16).overflows(crop, audio)
