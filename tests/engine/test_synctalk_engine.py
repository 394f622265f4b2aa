"""A package of footage with SyncTalk_2D in the engine itself: two devices, calls and live streams at once."""

import math
import queue

import cv2
import numpy as np
import pytest

from tests.engine.synctalk_parts import chunks, contexts_of, published
from tests.nets.seeded import encoder_arrays, generator_arrays
from webrtc_avatar.avatar.footage import cut_face
from webrtc_avatar.avatar.importing.draft import Draft
from webrtc_avatar.avatar.package import load_avatar
from webrtc_avatar.avatar.tensors import TensorWriter
from webrtc_avatar.engine.engine import Engine
from webrtc_avatar.engine.model import Job
from webrtc_avatar.engine.runtime.onnx import OnnxRuntime
from webrtc_avatar.engine.synctalk import SyncTalkModel
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.nets.synctalk2d_checkpoint import convert
from webrtc_avatar.settings import Settings

SOON_S = 60.0


@pytest.fixture(scope="module")
def avatar(tmp_path_factory):
    original = published(160)
    boxes = np.array([[8, 8, 8 + source.shape[1], 8 + source.shape[0]] for source in original.sources], np.int32)
    with Draft(tmp_path_factory.mktemp("avatars"), "seeded", force=False) as draft:
        with TensorWriter(draft.folder / "faces.safetensors", "faces", (168, 168, 3), np.uint8) as faces:
            for number, (source, box) in enumerate(zip(original.sources, boxes, strict=True)):
                frame = np.zeros((256, 256, 3), np.uint8)
                frame[box[1] : box[3], box[0] : box[2]] = source
                draft.copy_frame(number, cv2.imencode(".png", frame)[1].tobytes(), "png")
                faces.append(cut_face(frame, box, 168))
            faces.add("boxes", boxes)
        convert(generator_arrays(160), encoder_arrays(), draft.folder)
        files = {name: f"{name}.onnx" for name in ("image", "face", "audio")}
        draft.write_manifest(
            {"format": 1, "name": "seeded", "title": "Seeded", "license": "CC0-1.0"},
            {
                "footage": {"width": 256, "height": 256, "frame_count": len(boxes), "frame_type": "png"},
                "model": {"kind": "synctalk2d", "size": 160, "weights": "weights.safetensors", **files},
            },
        )
        return load_avatar(draft.finish())


def test_calls_and_live_streams_get_the_frames_of_the_model_alone(avatar):
    pieces = chunks(published(160).sound)[:20]
    model = SyncTalkModel(avatar, OnnxRuntime(threads=1))
    call = model.track(first_chunk=-8, windowed=True)
    heard = [call.push(piece) for piece in pieces]
    expected = {
        "call": [made.crop for made in model.render([Job(heard[15 + frame], frame) for frame in range(5)])],
        "live": [
            made.crop for made in model.render([Job(c, n) for n, c in enumerate(contexts_of(model.track(), pieces))])
        ],
    }
    engine = Engine(Settings(device="cpu,cpu"), Metrics())
    engine.start()
    try:
        engine.load(avatar).result(SOON_S)
        faces: dict[str, queue.Queue] = {"call": queue.Queue(), "live": queue.Queue()}
        calls = engine.open(avatar, faces["call"].put, first_chunk=-8, windowed=True)
        live = engine.open(avatar, faces["live"].put)
        assert (calls.chunks_after, live.chunks_after) == (7, 11)
        for number, piece in enumerate(pieces):
            calls.push(piece, index=number - 8, deadline_s=math.inf if number >= 15 else None, epoch=0)
            live.push(piece, index=number, deadline_s=math.inf, epoch=0)
        live.finish(index=9, deadline_s=math.inf, epoch=0)
        for name, crops in expected.items():
            got = sorted((faces[name].get(timeout=SOON_S) for _ in crops), key=lambda face: face.index)
            assert [face.index for face in got] == list(range(len(crops)))
            for face, crop in zip(got, crops, strict=True):
                assert face.error is None
                assert np.abs(face.crop.astype(int) - crop).max() <= 1
        calls.close()
        live.close()
    finally:
        engine.close()
