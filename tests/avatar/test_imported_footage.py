"""From a dataset and checkpoints to pictures: what was imported looks as SyncTalk_2D's own scripts made it."""

import asyncio

import cv2
import numpy as np
import pytest
import torch

from tests.avatar import footage_parts as parts
from tests.engine.synctalk_parts import published
from tests.nets.seeded import encoder_arrays, generator_arrays
from webrtc_avatar.audio.chunk import CHUNK_SAMPLES
from webrtc_avatar.avatar.importing import ImportOptions, import_avatar
from webrtc_avatar.avatar.package import load_avatar
from webrtc_avatar.avatar.painters import painter_of
from webrtc_avatar.engine import Engine
from webrtc_avatar.engine.bulk import frames
from webrtc_avatar.metrics import Metrics
from webrtc_avatar.settings import Settings


@pytest.fixture(params=[160, 328])
def run(request):
    """The original's own run of a size: footage, sound and pictures."""
    return request.param, published(request.param)


@pytest.fixture
def avatar(run, tmp_path):
    kind, original = run
    source = tmp_path / "dataset" / "may"
    for name in ("full_body_img", "landmarks"):
        (source / name).mkdir(parents=True)
    for number, (corners, face) in enumerate(zip(original.boxes, original.sources, strict=True)):
        picture = np.full((600, 640, 3), 77, np.uint8)
        picture[corners[1] : corners[1] + len(face), corners[0] : corners[0] + face.shape[1]] = face
        cv2.imwrite(str(source / "full_body_img" / f"{number}.png"), picture)
        (source / "landmarks" / f"{number}.lms").write_text(parts.landmarks(corners))
    for name, arrays in (("0.pth", generator_arrays(kind)), ("audio_encoder.pth", encoder_arrays())):
        torch.save({key: torch.from_numpy(value) for key, value in arrays.items()}, tmp_path / name)
    options = ImportOptions(tmp_path / "avatars", checkpoint=tmp_path / "0.pth", encoder=tmp_path / "audio_encoder.pth")
    return load_avatar(import_avatar(source, options).folder)


def test_what_was_imported_looks_as_the_original_made_it(run, avatar):
    _, original = run
    count = 2
    chunks = np.split(original.sound[: (count + 11) * CHUNK_SAMPLES], count + 11)

    async def render():
        engine = Engine(Settings(device="cpu", runtime="onnx"), Metrics())
        engine.start()
        try:
            made = frames(engine, avatar, chunks, frame_count=count, bases=lambda frame: original.order[frame])
            return [face.crop async for face in made]
        finally:
            engine.close()

    painter = painter_of(avatar)
    for number, crop in enumerate(asyncio.run(render())):
        base = original.order[number]
        x0, y0, x1, y1 = original.boxes[base]
        picture = painter.paint(base, crop)
        found = picture[y0:y1, x0:x1]
        assert np.abs(found.reshape(-1, 3).mean(0) - original.means[number]).max() < 0.01
        if number in original.outputs:
            difference = cv2.absdiff(found[::2, ::2], original.outputs[number])
            assert difference.max() <= 2
            assert difference.mean() <= 0.01
        picture = picture.copy()
        picture[y0:y1, x0:x1] = 0
        plain = avatar.frame(base).copy()
        plain[y0:y1, x0:x1] = 0
        assert np.array_equal(picture, plain)
