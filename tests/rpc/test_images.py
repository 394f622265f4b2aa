"""Pictures as bytes."""

import cv2
import numpy as np
import pytest

from webrtc_avatar.avatar.painters import painter_of
from webrtc_avatar.errors import InvalidRequest
from webrtc_avatar.rpc.images import Composition, ImageFormat, Output, encode, face_of


@pytest.fixture(scope="module")
def painter(library):
    return painter_of(library.get("iris"))


@pytest.fixture(scope="module")
def frame(painter):
    return painter.paint(40, None)


def shown(image, image_format, shape):
    if image_format is ImageFormat.RAW_BGR:
        return np.frombuffer(image, np.uint8).reshape(shape)
    return cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize("image_format", list(ImageFormat))
def test_every_format_shows_the_frame(painter, frame, image_format):
    bgr = cv2.cvtColor(frame, cv2.COLOR_YUV2BGR_I420)
    for picture, layout in ((frame, "i420"), (bgr, "bgr")):
        image = encode(picture, layout, Output(format=image_format))
        error = np.abs(shown(image, image_format, bgr.shape).astype(int) - bgr)
        assert error.mean() < (0.01 if image_format in (ImageFormat.PNG, ImageFormat.RAW_BGR) else 2)


def test_quality_costs_bytes(frame):
    for image_format in (ImageFormat.JPEG, ImageFormat.WEBP):
        sizes = [len(encode(frame, "i420", Output(format=image_format, quality=q))) for q in (20, 60, 95)]
        assert sizes == sorted(sizes)
        assert sizes[0] < sizes[2] / 2


def test_a_part_of_either_layout_is_the_same(frame):
    bounds = (128, 224, 384, 432)
    bgr = cv2.cvtColor(frame, cv2.COLOR_YUV2BGR_I420)
    raw = Output(format=ImageFormat.RAW_BGR)
    part = encode(face_of(frame, "i420", bounds), "i420", raw)
    assert part == encode(face_of(bgr, "bgr", bounds), "bgr", raw)


def test_the_contracts_numbers_are_checked():
    assert Output.of(1, 3, 0) == Output(Composition.FACE_ONLY, ImageFormat.RAW_BGR, 90)
    for numbers, said in (
        ((2, 0, 0), "composition"),
        ((0, 4, 0), "format"),
        ((0, 0, 101), "1 to 100"),
        ((0, 0, -1), "-1"),
    ):
        with pytest.raises(InvalidRequest, match=said):
            Output.of(*numbers)
