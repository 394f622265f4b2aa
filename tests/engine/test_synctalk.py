"""SyncTalk_2D in the engine gives the original's frames, from chunks, whichever way the sound is cut."""

import cv2
import numpy as np
import onnx
import pytest

from tests.engine.synctalk_parts import chunks, contexts_of, make_avatar, published, write_features
from tests.nets.seeded import encoder_arrays, generator_arrays
from webrtc_avatar.avatar.footage import INTERPOLATION
from webrtc_avatar.engine.model import Job
from webrtc_avatar.engine.runtime.onnx import OnnxRuntime
from webrtc_avatar.engine.runtime.torch import TorchRuntime
from webrtc_avatar.engine.synctalk import SyncTalkModel
from webrtc_avatar.errors import FrameOutOfRange, InvalidAvatar, NoFeatures
from webrtc_avatar.nets.synctalk2d_graph import audio_graph, whole_graph

RUNTIMES = {"onnx": OnnxRuntime(threads=1), "torch": TorchRuntime("cpu", threads=1)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {kind: tmp_path_factory.mktemp(f"seeded{kind}") for kind in (160, 328)}


def paste(crop: np.ndarray, box: np.ndarray) -> np.ndarray:
    """A crop as it is put back into the frame."""
    x0, y0, x1, y1 = box.tolist()
    return cv2.resize(crop, (x1 - x0, y1 - y0), interpolation=INTERPOLATION[len(crop)])


@pytest.mark.parametrize(("kind", "runtime"), [(160, "onnx"), (160, "torch"), (328, "onnx"), (328, "torch")])
def test_frames_are_the_originals_from_the_first_to_the_last(folders, kind, runtime):
    original = published(kind)
    model = SyncTalkModel(make_avatar(folders[kind], kind), RUNTIMES[runtime])
    contexts = contexts_of(model.track(), chunks(original.sound))
    wanted = range(19) if (kind, runtime) == (160, "onnx") else sorted(original.outputs)
    jobs = [Job(contexts[number], original.order[number]) for number in wanted]
    for number, rendered in zip(wanted, model.render(jobs), strict=True):
        face = paste(rendered.crop, original.boxes[original.order[number]])
        np.testing.assert_allclose(face.mean((0, 1)), original.means[number], atol=0.01)
        if number in original.outputs:
            difference = np.abs(face[::2, ::2].astype(int) - original.outputs[number])
            assert difference.max() <= 2
            assert difference.mean() <= 0.01


@pytest.fixture(scope="module")
def avatar(folders):
    return make_avatar(folders[160], 160)


@pytest.fixture(scope="module")
def model(avatar):
    return SyncTalkModel(avatar, RUNTIMES["onnx"])


@pytest.fixture(scope="module")
def pieces():
    return chunks(published(160).sound)[:20]


def test_a_request_may_be_cut_anywhere(model, pieces):
    long = model.track(first_chunk=7, windowed=True)
    contexts = [long.push(piece) for piece in pieces]
    together = model.render([Job(contexts[start + 15], start) for start in range(5)])
    for start in range(5):
        alone = model.track(first_chunk=7 + start, windowed=True)
        *_, context = (alone.push(piece) for piece in pieces[start : start + 16])
        (single,) = model.render([Job(context, start)])
        assert np.abs(single.crop.astype(int) - together[start].crop).max() <= 1


@pytest.mark.parametrize("after", [11, 7, 0])
def test_a_live_frame_comes_with_the_chunk_that_the_package_says(avatar, pieces, after):
    avatar.model.chunks_after = after
    try:
        track = SyncTalkModel(avatar, RUNTIMES["onnx"]).track()
    finally:
        avatar.model.chunks_after = 11
    assert track.chunks_after == after
    assert [track.push(piece) is not None for piece in pieces] == [False] * after + [True] * (20 - after)


def test_callers_share_a_batch_without_sharing_a_face(model, pieces):
    tracks = [model.track(windowed=True) for _ in range(2)]
    contexts = []
    for number, track in enumerate(tracks):
        *_, context = (track.push(piece) for piece in pieces[number : number + 16])
        contexts.append(context)
    jobs = [Job(contexts[0], 2), Job(contexts[1], 2), Job(contexts[0], 3)]
    together = [made.crop for made in model.render(jobs)]
    alone = [model.render([job])[0].crop for job in jobs]
    for one, other in zip(together, alone, strict=True):
        assert np.array_equal(one, other)
    assert not np.array_equal(together[0], together[1])
    assert not np.array_equal(together[0], together[2])


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_what_is_kept_of_the_footage_changes_no_frame(avatar, pieces, runtime):
    context = contexts_of(SyncTalkModel(avatar, RUNTIMES["onnx"]).track(), pieces)[8]
    jobs = [Job(context, base) for base in (0, 3, 5)]
    crops = {}
    for megabytes in (0, 20):
        device = OnnxRuntime(threads=1) if runtime == "onnx" else TorchRuntime("cpu", threads=1)
        device.base_cache_mb = megabytes
        model = SyncTalkModel(avatar, device)
        crops[megabytes] = [[made.crop for made in model.render(jobs)] for _ in range(2)]
    for again in range(2):
        for one, other in zip(crops[20][again], crops[0][again], strict=True):
            assert np.abs(one.astype(int) - other).max() <= 1
    # Of five frames of footage to and fro, the fifth is the third again.
    assert np.array_equal(crops[20][0][1], crops[20][0][2])
    assert not np.array_equal(crops[20][0][0], crops[20][0][1])


def test_the_border_of_a_crop_is_the_footages_and_the_footage_stays_as_it_is(avatar, model, pieces):
    before = avatar.faces.copy()
    (made,) = model.render([Job(contexts_of(model.track(), pieces)[5], 2)])
    assert np.array_equal(avatar.faces, before)
    assert made.crop.shape == (168, 168, 3)
    changed = (made.crop != before[2]).any(2)
    assert changed[4:-4, 4:-4].any()
    changed[4:-4, 4:-4] = False
    assert not changed.any()
    assert made.weights is None


def test_features_of_the_package_give_the_frames_that_their_sound_gives(folders, pieces):
    avatar = make_avatar(folders[160], 160)
    model = SyncTalkModel(avatar, RUNTIMES["onnx"])
    contexts = contexts_of(model.track(), pieces)
    model.render([Job(contexts[frame], frame) for frame in (0, 9)])
    rows = np.array([contexts[frame][8].features for frame in range(1, 12)])
    avatar.model.features = write_features(folders[160], np.concatenate([rows[:1], rows]))
    model = SyncTalkModel(avatar, RUNTIMES["onnx"])
    # Frame 4 hears the rows up to 11, which are all there are.
    told = model.render([Job(model.features(4), 4), Job(contexts[4], 4)])
    assert np.array_equal(told[0].crop, told[1].crop)
    with pytest.raises(FrameOutOfRange, match=r"frame 12 .* 0 to 11"):
        model.features(12)
    with pytest.raises(FrameOutOfRange):
        model.features(-1)


def test_without_features_a_frame_needs_sound(model):
    with pytest.raises(NoFeatures, match=r"frame 3 needs sound: send audio_chunks"):
        model.features(3)


def test_networks_of_the_other_size_are_noticed_at_load(folders):
    avatar = make_avatar(folders[160], 160)
    avatar.model.files = make_avatar(folders[328], 328).model.files
    for runtime in RUNTIMES.values():
        with pytest.raises(InvalidAvatar, match="import it again"):
            SyncTalkModel(avatar, runtime)


def test_damaged_files_are_noticed_at_load(folders, tmp_path):
    for name in ("face", "weights"):
        broken = tmp_path / f"{name}.bin"
        broken.write_bytes(b"not a network")
        avatar = make_avatar(folders[160], 160)
        avatar.model.files = {**avatar.model.files, name: broken}
        with pytest.raises(InvalidAvatar):
            SyncTalkModel(avatar, RUNTIMES["onnx" if name == "face" else "torch"])


def test_too_few_chunks_for_a_row_are_refused(folders):
    with pytest.raises(InvalidAvatar, match="chunks_before 3 and chunks_after 2 are too few"):
        SyncTalkModel(make_avatar(folders[160], 160, chunks_before=3, chunks_after=2), RUNTIMES["onnx"])


@pytest.mark.parametrize(("fixed", "runtime"), [(False, "onnx"), (True, "torch")])
def test_a_generator_that_came_as_onnx_gives_the_same_faces(folders, tmp_path, model, pieces, fixed, runtime):
    state, encoder = generator_arrays(160), encoder_arrays()
    files = {"generator": tmp_path / "generator.onnx", "audio": tmp_path / "encoder.onnx"}
    files["generator"].write_bytes(whole_graph(state))
    exported = audio_graph(encoder)
    if fixed:
        loaded = onnx.load_from_string(exported)
        for value in (*loaded.graph.input, *loaded.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 1
        exported = loaded.SerializeToString()
    files["audio"].write_bytes(exported)
    contexts = contexts_of(model.track(), pieces)
    expected = model.render([Job(contexts[9], 1)])[0].crop
    other = make_avatar(folders[160], 160, kind="onnx_generator", files=files)
    whole = SyncTalkModel(other, RUNTIMES[runtime])
    fresh = contexts_of(whole.track(), pieces)
    assert np.abs(whole.render([Job(fresh[9], 1)])[0].crop.astype(int) - expected).max() <= 1
