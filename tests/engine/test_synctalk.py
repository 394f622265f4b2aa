"""SyncTalk_2D in the engine gives the original's frames, from chunks, whichever way the sound is cut."""

import cv2
import numpy as np
import pytest

from tests.engine.synctalk_parts import chunks, contexts_of, make_avatar, published
from webrtc_avatar.avatar.footage import INTERPOLATION
from webrtc_avatar.engine.model import Job
from webrtc_avatar.engine.runtime.onnx import OnnxRuntime
from webrtc_avatar.engine.runtime.torch import TorchRuntime
from webrtc_avatar.engine.synctalk import SyncTalkModel

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
    wanted = range(19) if runtime == "onnx" else sorted(original.outputs)
    jobs = [Job(contexts[number], original.order[number]) for number in wanted]
    for number, rendered in zip(wanted, model.render(jobs), strict=True):
        face = paste(rendered.crop, original.boxes[original.order[number]])
        np.testing.assert_allclose(face.mean((0, 1)), original.means[number], atol=0.01)
        if number in original.outputs:
            difference = np.abs(face[::2, ::2].astype(int) - original.outputs[number])
            assert difference.max() <= 2
            assert difference.mean() <= 0.01
