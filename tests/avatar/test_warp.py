"""The warp by linear fields, against turning a head in space exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from webrtc_avatar.avatar.compose import Box, i420, planes
from webrtc_avatar.avatar.warp import FIELDS, Warp
from webrtc_avatar.errors import InvalidAvatar

IRIS = Path(__file__).parents[2] / "models" / "iris"
FRAME = 512
CAMERA: dict[str, Any] = {
    "frame_px": FRAME,
    "focal_px": 1208.9,
    "camera_to_world": [[1, 0, 0, 0], [0, 0, -1, -8.6], [0, 1, 0, 6.58], [0, 0, 0, 1]],
    "neck_pivot": [0.0, 0.013, 5.43],
}
CENTRE, RADII = np.array([0.0, 0.0, 6.6]), np.array([0.9, 1.0, 1.25])


def egg_head() -> tuple[np.ndarray, np.ndarray]:
    """The position pass of an ellipsoid of a head's size in front of a wall, and where it is seen."""
    rows, columns = np.mgrid[:FRAME, :FRAME].astype(np.float64) + 0.5
    focal = CAMERA["focal_px"]
    rays = np.stack([(columns - FRAME / 2) / focal, np.ones_like(rows), (FRAME / 2 - rows) / focal], -1)
    eye = np.array(CAMERA["camera_to_world"])[:3, 3]
    start, step = (eye - CENTRE) / RADII, rays / RADII
    a, b, c = (step**2).sum(-1), (start * step).sum(-1), (start**2).sum() - 1
    hit = b**2 - a * c > 0
    near = (-b - np.sqrt(np.maximum(b**2 - a * c, 0))) / a
    return eye + rays * near[..., None], hit


@pytest.fixture(scope="module")
def egg_warp() -> Warp:
    flow = pytest.importorskip("webrtc_avatar.training.flow", reason="making fields needs the extra 'training'")
    position, seen = egg_head()
    still = planes(np.zeros((FRAME * 3 // 2, FRAME), np.uint8))
    return Warp(flow.fields_of(position, CAMERA, seen.astype(np.float64), np.zeros_like(seen)), still)


def exact_displacement(flow: np.ndarray) -> np.ndarray:
    """Invert a forward flow pixel by pixel."""
    rows, columns = np.mgrid[:FRAME, :FRAME].astype(np.float32)
    flow = flow.astype(np.float32)
    back = -flow
    for _ in range(8):
        back = -cv2.remap(
            flow, columns + back[..., 0], rows + back[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    return back


@pytest.mark.parametrize(
    ("yaw", "pitch", "roll"), [(2, 0, 0), (-2, 0, 0), (0, 2, 0), (0, -2, 0), (0, 0, 2), (0, 0, -2), (1.6, 1, 0.8)]
)
def test_linear_fields_are_close_to_turning_the_head(egg_warp: Warp, yaw: float, pitch: float, roll: float) -> None:
    flow = pytest.importorskip("webrtc_avatar.training.flow")
    position, seen = egg_head()
    moved = cv2.resize(egg_warp.displacement(yaw, pitch, roll, 0.0), (FRAME, FRAME))
    exact = exact_displacement(flow.turning(position, CAMERA, yaw=yaw, pitch=pitch, roll=roll))
    inner = cv2.erode(seen.astype(np.uint8), np.ones((25, 25))) > 0
    error = np.linalg.norm(moved - exact, axis=-1)[inner]
    assert np.linalg.norm(exact, axis=-1)[inner].max() > 5
    print(f"yaw {yaw} pitch {pitch} roll {roll}: median {np.median(error):.3f} px, worst {error.max():.3f} px")
    assert error.max() < 0.4


def iris_fields() -> dict[str, np.ndarray]:
    with np.load(IRIS / "flow.npz", allow_pickle=False) as stored:
        return {name: stored[name] for name in FIELDS}


def iris_plate() -> np.ndarray:
    return i420(cv2.imread(str(IRIS / "plate.png")))


def test_a_moved_picture_is_what_sampling_at_the_displaced_places_gives() -> None:
    plate, fields = iris_plate(), iris_fields()
    still, frame = planes(plate), np.empty_like(plate)
    warp = Warp(fields, still)
    warp.move(still, planes(frame), 1.6, -1.0, 0.8, 1.0)
    shift = cv2.resize(warp.displacement(1.6, -1.0, 0.8, 1.0), (FRAME, FRAME))
    rows, columns = np.mgrid[:FRAME, :FRAME].astype(np.float32)
    expected = cv2.remap(
        still.y, columns + shift[..., 0], rows + shift[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    difference = np.abs(planes(frame).y.astype(int) - expected)
    assert difference.mean() < 1.0
    assert np.percentile(difference, 99) <= 8
    for got, plane in zip(planes(frame)[1:], still[1:], strict=True):
        assert np.abs(got.astype(int) - plane).mean() < 2.0


def test_at_rest_the_picture_stays_where_it_is() -> None:
    plate = iris_plate()
    frame = np.empty_like(plate)
    Warp(iris_fields(), planes(plate)).move(planes(plate), planes(frame), 0, 0, 0, 0)
    assert np.abs(planes(frame).y.astype(int) - planes(plate).y).mean() < 0.6
    assert np.array_equal(planes(frame).u, planes(plate).u)
    assert np.array_equal(planes(frame).v, planes(plate).v)


def test_frame_edges_hardly_move() -> None:
    warp = Warp(iris_fields(), planes(iris_plate()))
    for amounts in ((1.6, 1.0, 0.8, 1.0), (-1.6, -1.0, -0.8, 1.0)):
        back = warp.displacement(*amounts)
        assert np.abs(back[0]).max() < 2.5
        assert np.abs(back[-1, :, 1]).max() < 0.2


@pytest.mark.parametrize("box", [Box(144, 248, 368, 408), Box(0, 0, 64, 64), Box(400, 480, 512, 512)])
def test_refreshing_a_box_is_like_starting_from_the_changed_picture(box: Box) -> None:
    before, fields = iris_plate(), iris_fields()
    after = before.copy()
    inner = planes(after).y[box.top + 8 : box.bottom - 8, box.left + 8 : box.right - 8]
    inner[...] = 255 - inner
    refreshed = Warp(fields, planes(before))
    refreshed.refresh(planes(after), box)
    frames = [np.empty_like(after), np.empty_like(after)]
    refreshed.move(planes(after), planes(frames[0]), 1.0, 0.5, -0.5, 0.3)
    Warp(fields, planes(after)).move(planes(after), planes(frames[1]), 1.0, 0.5, -0.5, 0.3)
    assert np.abs(frames[0].astype(int) - frames[1]).max() <= 1


def test_sharpness_hardly_changes_while_the_head_sways() -> None:
    plate = iris_plate()
    warp, frame = Warp(iris_fields(), planes(plate)), np.empty_like(plate)
    hair = (slice(60, 250), slice(90, 140))
    sharpness = []
    for yaw in np.linspace(-0.5, 0.5, 41):
        warp.move(planes(plate), planes(frame), float(yaw), 0, 0, 0)
        sharpness.append(np.abs(cv2.Laplacian(planes(frame).y, cv2.CV_16S))[hair].mean())
    still = np.abs(cv2.Laplacian(planes(plate).y, cv2.CV_16S))[hair].mean()
    assert min(sharpness) / still > 0.8
    assert max(sharpness) / min(sharpness) < 1.3


@pytest.mark.parametrize("flaw", ["missing", "shape", "indivisible"])
def test_unusable_fields_are_refused(flaw: str) -> None:
    fields = iris_fields()
    if flaw == "missing":
        del fields["roll"]
    elif flaw == "shape":
        fields["breath"] = fields["breath"][:32]
    else:
        fields = {name: np.zeros((60, 60, 2), np.float16) for name in FIELDS}
    with pytest.raises(InvalidAvatar, match="yaw, pitch, roll, breath"):
        Warp(fields, planes(iris_plate()))
