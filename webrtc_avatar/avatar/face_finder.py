"""Finds the largest face of a picture and its 468 landmarks, on the CPU.

The networks are MediaPipe's BlazeFace and face mesh (Apache-2.0; Bazarevsky et al., 2019; Kartynnik et al., 2019), in `face_models/`,
run by `ai-edge-litert`, which comes with the extra `portrait`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, NoReturn

import cv2
import numpy as np
import numpy.typing as npt

from webrtc_avatar.errors import FaceTurnedAway, NoFaceFound, PortraitUnavailable

Floats = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]

LANDMARKS = 468
MAX_YAW_DEG = 38.0
"""Beyond this the far half of the mouth is too narrow to be moved."""

MIN_FACE_PX = 48

_MIN_SCORE = 0.5
_ROI_SCALE = 1.5
_DETECTOR_PX = 256
_MESH_PX = 192
_ANCHOR_GRIDS = ((16, 2), (8, 6))
_OVERLAP = 0.3
_PASSES = 2
"""The second looks at the face that the first found, which is more exact than where the detector saw it."""

_CHEEKS = (234, 454)
_NOSE_TIP = 1
_DEG_PER_SHARE = 45.0
"""Degrees of a head whose nose is above its cheek; measured on faces turned by known angles, right within 8 up to 30 degrees."""

_EYE_OUTERS = (33, 263)

_DOUBTFUL = 15.0
"""A face that stands as it was taken to has a presence (log odds) of 25 and more, one on its head of 10 at most."""

_SIDEWAYS = 0.1
_NARROW = 0.82
"""A face that is seen from the side has its nose beside the eyes, by such a share of the detector's box, or eyes that are nearer to
one another than to the mouth, by such a share: it is 1 from the front."""


@dataclass(frozen=True, slots=True, eq=False)
class FoundFace:
    """A face in a picture.

    Attributes:
        landmarks: float32 (468, 3): x right and y down in pixels of the picture, z away from the viewer in the same unit, 0 near
            the middle of the head's front; numbered as MediaPipe's face mesh.
        yaw_deg: how far the head is turned, to the right in the picture positive.
        roll_deg: how far it is tilted, clockwise in the picture positive.
        others: how many further faces the picture has.
    """

    landmarks: Floats
    yaw_deg: float
    roll_deg: float
    others: int


def find_face(image: Picture) -> FoundFace:
    """Find the largest face.

    Args:
        image: uint8 (height, width, 3) BGR, upright.

    Returns:
        The face; about 12 ms on one thread.

    Raises:
        PortraitUnavailable: the extra `portrait` is not installed.
        NoFaceFound: the picture shows no face, or none that is large enough.
        FaceTurnedAway: the face is seen from the side.
    """
    networks = _networks()
    boxes = networks.detect(image)
    if not len(boxes):
        raise NoFaceFound(
            f"no face was found in the picture of {image.shape[1]}x{image.shape[0]} pixels; "
            "send a photo of one person who looks at the camera, upright, well lit, not covered"
        )
    best = max(boxes, key=lambda box: float(np.prod(box[1])))
    landmarks = networks.mesh(image, best)
    if landmarks is None:
        _refuse(best)
    width = float(np.ptp(landmarks[:, 0]))
    if width < MIN_FACE_PX:
        raise NoFaceFound(
            f"the largest face is {width:.0f} pixels wide, at least {MIN_FACE_PX} are needed; send a larger or closer photo"
        )
    yaw = _yaw_deg(landmarks)
    if abs(yaw) > MAX_YAW_DEG:
        raise FaceTurnedAway(
            f"the face is turned by about {abs(yaw):.0f} degrees, at most {MAX_YAW_DEG:.0f} work; "
            "send a photo in which the person looks towards the camera"
        )
    left, right = landmarks[list(_EYE_OUTERS), :2]
    roll = math.degrees(math.atan2(right[1] - left[1], right[0] - left[0]))
    return FoundFace(landmarks, yaw, roll, len(boxes) - 1)


def _refuse(box: Floats) -> NoReturn:
    """Say why the landmarks of what the detector took for a face were not found."""
    eyes, middle = box[3] - box[2], (box[2] + box[3]) / 2
    apart, down = float(np.linalg.norm(eyes)), float(np.linalg.norm(box[5] - middle))
    beside = abs(float((box[4] - middle) @ eyes)) / max(apart * float(box[1].max()), 1e-6)
    if beside > _SIDEWAYS or apart < _NARROW * down:
        raise FaceTurnedAway(
            f"the face is seen from the side, by far more than {MAX_YAW_DEG:.0f} degrees; "
            "send a photo in which the person looks towards the camera"
        )
    raise NoFaceFound(
        "something like a face was found, but not its eyes and mouth; send a photo in which the face is larger, "
        "turned towards the camera and not covered"
    )


def _yaw_deg(landmarks: Floats) -> float:
    """Return the turn by where the nose's tip is between the cheeks: the network makes turned faces too flat for their depth to tell."""
    left, right, nose = (landmarks[number, :2] for number in (*_CHEEKS, _NOSE_TIP))
    across = right - left
    return _DEG_PER_SHARE * (2 * float((nose - left) @ across) / float(across @ across) - 1)


class _Networks:
    """Both networks; one call at a time, which the lock sees to."""

    def __init__(self) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise PortraitUnavailable(
                "faces are found with the package ai-edge-litert, which is not installed; "
                "install it with pip install 'webrtc-avatar[portrait]'"
            ) from error
        folder = Path(__file__).parent / "face_models"
        self._lock = Lock()
        self._detector, self._mesh = (
            Interpreter(model_path=str(folder / name), num_threads=1)
            for name in ("face_detection_back.tflite", "face_landmark.tflite")
        )
        for network in (self._detector, self._mesh):
            network.allocate_tensors()
        self._anchors = _anchors()

    def detect(self, image: Picture) -> list[Floats]:
        """Return one float32 (8, 2) a face in pixels: centre, size, right eye, left eye, nose, mouth, ears."""
        height, width = image.shape[:2]
        side = max(height, width)
        scale = _DETECTOR_PX / side
        place = np.array([[scale, 0, (side - width) / 2 * scale], [0, scale, (side - height) / 2 * scale]])
        square = cv2.warpAffine(image, place, (_DETECTOR_PX, _DETECTOR_PX), flags=cv2.INTER_AREA)
        raw, scores = self._run(self._detector, square[..., ::-1] / np.float32(127.5) - 1)
        boxes = raw.reshape(-1, 8, 2) / _DETECTOR_PX
        boxes[:, 0] += self._anchors
        boxes[:, 2:] += self._anchors[:, None]
        share = 1 / (1 + np.exp(-np.clip(scores.reshape(-1), -80, 80)))
        found: list[Floats] = []
        for number in np.argsort(-share):
            if share[number] < _MIN_SCORE:
                break
            if all(_overlap(boxes[number], other) < _OVERLAP for other in found):
                found.append(boxes[number])
        offset = np.array([(side - width) / 2, (side - height) / 2], np.float32)
        pixels = [box * np.float32(side) for box in found]
        for box in pixels:
            box[0] -= offset
            box[2:] -= offset
        return pixels

    def mesh(self, image: Picture, box: Floats) -> Floats | None:
        """Return the landmarks (468, 3) in pixels of the face in a detector's box; None: there are none."""
        landmarks, presence = self._look(image, box, box[2], box[3])
        if presence < _DOUBTFUL:
            # The detector takes a face that stands on its head for an upright one.
            other, other_presence = self._look(image, box, box[3], box[2])
            if other_presence > max(presence, _DOUBTFUL):
                landmarks, presence = other, other_presence
        return landmarks if presence > 0 else None

    def _look(self, image: Picture, box: Floats, right_eye: Floats, left_eye: Floats) -> tuple[Floats, float]:
        """Return landmarks of a face whose eyes are there, and the log odds of there being one."""
        centre, side = box[0], float(box[1].max()) * _ROI_SCALE
        landmarks, odds = np.empty((0, 3), np.float32), -math.inf
        for _ in range(_PASSES):
            angle = math.atan2(float(left_eye[1] - right_eye[1]), float(left_eye[0] - right_eye[0]))
            unit = side / _MESH_PX
            turn = unit * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
            place = np.hstack([turn, (centre - turn @ np.full(2, _MESH_PX / 2))[:, None]])
            crop = cv2.warpAffine(
                image,
                place,
                (_MESH_PX, _MESH_PX),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
            raw, presence = self._run(self._mesh, crop[..., ::-1] / np.float32(255))
            odds = float(presence.reshape(-1)[0])
            if odds < 0:
                break
            points = raw.reshape(LANDMARKS, 3)
            landmarks = np.hstack([points[:, :2] @ turn.T + place[:, 2], points[:, 2:] * unit]).astype(np.float32)
            low, high = points[:, :2].min(0), points[:, :2].max(0)
            centre = turn @ ((low + high) / 2) + place[:, 2]
            side = float((high - low).max()) * unit * _ROI_SCALE
            right_eye, left_eye = landmarks[_EYE_OUTERS[0]], landmarks[_EYE_OUTERS[1]]
        return landmarks, odds

    def _run(self, network: Any, picture: npt.NDArray[Any]) -> list[Floats]:
        with self._lock:
            network.set_tensor(network.get_input_details()[0]["index"], picture[None].astype(np.float32))
            network.invoke()
            return [np.array(network.get_tensor(detail["index"])) for detail in network.get_output_details()[:2]]


@lru_cache(maxsize=1)
def _networks() -> _Networks:
    return _Networks()


def _anchors() -> Floats:
    """Return the centres that boxes are relative to, float32 (896, 2) in shares of the square."""
    parts = []
    for cells, each in _ANCHOR_GRIDS:
        places = (np.arange(cells, dtype=np.float32) + 0.5) / cells
        x, y = np.meshgrid(places, places)
        parts.append(np.repeat(np.stack([x.ravel(), y.ravel()], -1), each, 0))
    return np.concatenate(parts)


def _overlap(one: Floats, other: Floats) -> float:
    low = np.maximum(one[0] - one[1] / 2, other[0] - other[1] / 2)
    high = np.minimum(one[0] + one[1] / 2, other[0] + other[1] / 2)
    common = float(np.prod(np.maximum(high - low, 0)))
    return common / (float(np.prod(one[1])) + float(np.prod(other[1])) - common)
