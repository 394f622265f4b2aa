"""Lip-sync calls of a server with a watermark: whole frames carry it, faces alone and the numbers do not change."""

import numpy as np

from tests.rpc.conftest import messages, picture, request_of
from tests.watermark_parts import likeness
from webrtc_avatar.rpc.images import Composition, ImageFormat


async def frames_of(rpc, voice, **output):
    wanted = messages.OutputOptions(**output)
    answer = await rpc.stub.GenerateBatchWithAudio(request_of(voice, start=10, count=3, output=wanted))
    return answer.responses


async def test_whole_frames_of_any_format_carry_it(start, voice):
    rpc = await start(watermark="AI-generated")
    for kind in (ImageFormat.JPEG, ImageFormat.PNG, ImageFormat.WEBP, ImageFormat.RAW_BGR):
        for frame in await frames_of(rpc, voice, format=kind):
            raw = kind is ImageFormat.RAW_BGR
            image = frame.image_data
            shown = np.frombuffer(image, np.uint8).reshape(frame.height, frame.width, 3) if raw else picture(image)
            assert likeness(shown) > 0.9
            assert (b"compositeWithTrainedAlgorithmicMedia" in image) is not raw


async def test_a_face_alone_has_none_and_fits_into_the_marked_footage(start, voice):
    rpc, plain = await start(watermark="AI-generated"), await start()
    alone = {"composition": Composition.FACE_ONLY, "format": ImageFormat.PNG}
    faces, unmarked = await frames_of(rpc, voice, **alone), await frames_of(plain, voice, **alone)
    whole = await frames_of(rpc, voice, format=ImageFormat.PNG)
    for face, other, frame in zip(faces, unmarked, whole, strict=True):
        assert np.array_equal(picture(face.image_data), picture(other.image_data))
        request = messages.GetVideoFrameRequest(model_name="iris", frame_id=face.frame_id)
        footage = picture((await rpc.stub.GetVideoFrame(request)).frame_data)
        assert likeness(footage) > 0.9
        left, top, right, bottom = face.bounds
        footage[top:bottom, left:right] = picture(face.image_data)
        assert np.abs(footage.astype(int) - picture(frame.image_data)).mean() < 2
        assert likeness(footage) > 0.9
