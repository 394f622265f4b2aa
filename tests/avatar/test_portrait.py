"""From a photo to an avatar: its package, its mouth, its eyes and its head."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest

from tests.avatar.portrait_parts import ASTRONAUT, IRIS, astronaut_photo, iris_photo, turned
from webrtc_avatar.avatar.actor import Actor
from webrtc_avatar.avatar.compose import bgr
from webrtc_avatar.avatar.face_finder import find_face
from webrtc_avatar.avatar.package import Avatar, load_avatar
from webrtc_avatar.avatar.portrait import PortraitOptions, centred_landmarks, create_portrait, read_photo
from webrtc_avatar.avatar.portrait_lips import INNER_LOWER, INNER_UPPER, WEIGHTS, measure
from webrtc_avatar.avatar.portrait_mouth import MouthPainter
from webrtc_avatar.avatar.style import Style
from webrtc_avatar.engine.portrait import PortraitModel, read_art
from webrtc_avatar.engine.runtime.onnx import OnnxRuntime
from webrtc_avatar.errors import AvatarExists, CannotImport, InvalidAvatar, NoFaceFound
from webrtc_avatar.speech.visemes import VISEMES

PHOTOS = {"iris": iris_photo, "astronaut": astronaut_photo}


@pytest.fixture(scope="module")
def ear() -> Avatar:
    return load_avatar(IRIS)


@pytest.fixture(scope="module")
def portraits(tmp_path_factory, ear) -> dict[str, Avatar]:
    into = tmp_path_factory.mktemp("portraits")
    made = {}
    for name, photo in PHOTOS.items():
        made[name] = load_avatar(create_portrait(photo(), PortraitOptions(into, f"p-{name}", name), ear).folder)
    return made


def painter(avatar: Avatar) -> MouthPainter:
    left, top, right, bottom = avatar.mouth_box
    return MouthPainter(read_art(avatar), np.ascontiguousarray(avatar.fine[2 * top : 2 * bottom, 2 * left : 2 * right]))


def mouth(viseme: str, strength: float = 1.0) -> np.ndarray:
    return (strength * VISEMES[viseme]).astype(np.float32)


def plate_crop(avatar: Avatar) -> np.ndarray:
    left, top, right, bottom = avatar.mouth_box
    return avatar.plate[top:bottom, left:right]


def opening(avatar: Avatar, weights: np.ndarray) -> np.ndarray:
    """Return where neither lip covers the mouth's interior, bool, the size of `inner`."""
    art = read_art(avatar)
    left, top, right, bottom = art.inner
    covers = []
    flows = np.tensordot(weights, art.fields.astype(np.float32), ([0], [1]))
    for above, flow in zip((art.above, 255 - art.above), flows, strict=True):
        covers.append(painter(avatar)._sampled(np.dstack([np.zeros((*above.shape, 3), np.uint8), above]), flow)[..., 3])
    return (np.maximum(*covers) < 100)[top:bottom, left:right]


def open_rows(avatar: Avatar, weights: np.ndarray) -> int:
    """Return how many rows of the mouth's middle column are open."""
    seen = opening(avatar, weights)
    return int(seen[:, seen.shape[1] // 2].sum())


@pytest.mark.parametrize("name", PHOTOS)
def test_a_mouth_at_rest_is_the_photo(portraits, name) -> None:
    avatar = portraits[name]
    drawn = painter(avatar).draw(np.zeros(12, np.float32))
    assert np.abs(drawn.astype(int) - plate_crop(avatar)).max() <= 1


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("viseme", VISEMES)
def test_nothing_moves_at_the_edges_of_the_mouths_box(portraits, name, viseme) -> None:
    avatar = portraits[name]
    change = np.abs(painter(avatar).draw(mouth(viseme)).astype(int) - plate_crop(avatar)).max(-1)
    assert max(change[:2].max(), change[-2:].max(), change[:, :2].max(), change[:, -2:].max()) <= 2


@pytest.mark.parametrize("name", PHOTOS)
def test_lips_part_the_further_the_jaw_opens_and_stay_closed_for_p(portraits, name) -> None:
    rows = [open_rows(portraits[name], mouth("aa", strength)) for strength in (0.0, 0.5, 1.0)]
    assert rows[0] == 0 < 5 < rows[1] < rows[2]
    assert open_rows(portraits[name], mouth("PP")) == 0


@pytest.mark.parametrize("name", PHOTOS)
def test_rounded_lips_are_narrower_and_spread_ones_wider_than_at_rest(portraits, name) -> None:
    art = read_art(portraits[name])
    fields = art.fields.astype(np.float32)
    left, top, right, bottom = (int(side) // 4 for side in art.inner)
    half = (right - left) // 2

    def widening(viseme: str) -> float:
        moved = np.tensordot(mouth(viseme), fields[1], 1)[top:bottom, left:right, 0]
        return float(moved[:, half:].sum() - moved[:, :half].sum())

    assert widening("O") < widening("aa") < 0 < widening("I")
    assert widening("U") < 0


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("viseme", VISEMES)
def test_no_skin_is_folded_over(portraits, name, viseme) -> None:
    fields = np.tensordot(mouth(viseme), read_art(portraits[name]).fields.astype(np.float32), ([0], [1]))
    for layer in fields:
        rows, columns = np.gradient(layer, 4, axis=(0, 1))
        area = (1 + columns[..., 0]) * (1 + rows[..., 1]) - columns[..., 1] * rows[..., 0]
        assert np.quantile(area, 0.01) > 0.1


@pytest.mark.parametrize("name", PHOTOS)
def test_teeth_are_lit_like_the_face(portraits, name) -> None:
    art = read_art(portraits[name])
    teeth = art.upper_teeth[..., :3][art.upper_teeth[..., 3] > 200]
    brightest = np.quantile(teeth.mean(-1), 0.95)
    skin = np.median(plate_crop(portraits[name])[: art.inner[1] + 20].mean(-1))
    assert 0.7 * skin < brightest < 1.9 * skin


def test_teeth_that_the_photo_shows_are_the_portraits_teeth(portraits) -> None:
    photo = astronaut_photo()
    landmarks = find_face(photo).landmarks[:, :2]
    polygon = np.rint(landmarks[[*INNER_UPPER, *reversed(INNER_LOWER)]]).astype(np.int32)
    mask = cv2.fillPoly(np.zeros(photo.shape[:2], np.uint8), [polygon], 255)
    seen = photo[mask > 0].astype(float)
    own = np.median(seen[seen.mean(-1) > np.quantile(seen.mean(-1), 0.7)], 0)
    art = read_art(portraits["astronaut"])
    drawn = painter(portraits["astronaut"]).draw(mouth("aa"))
    left, top, right, bottom = art.inner
    inside = drawn[top:bottom, left:right][
        (art.upper_teeth[..., 3] > 240) & opening(portraits["astronaut"], mouth("aa"))
    ].astype(float)
    teeth = np.median(inside, 0)
    # The upper lip's shadow makes them darker, and no other colour.
    assert 0.75 * own.mean() < teeth.mean() < own.mean()
    assert np.abs(teeth / teeth.mean() - own / own.mean()).max() < 0.03
    # Its gaps show: neighbouring columns differ, and differently than the painted row's, which is a mirror image of itself.
    row = art.upper_teeth[..., :3][art.upper_teeth.shape[0] // 3].mean(-1).astype(float)
    assert np.abs(row - row[::-1]).mean() > 4


def test_a_closed_smile_shows_neither_teeth_nor_dark_corners(portraits) -> None:
    avatar = portraits["astronaut"]
    points = find_face(avatar.plate).landmarks[:, :2]
    low, high = points[[61, 0]].min(0).astype(int), points[[291, 17]].max(0).astype(int)
    lips = cv2.cvtColor(avatar.plate[low[1] : high[1], low[0] : high[0]], cv2.COLOR_BGR2GRAY)
    face = float(np.median(cv2.cvtColor(plate_crop(avatar), cv2.COLOR_BGR2GRAY)))
    assert lips.min() > 0.4 * face


def test_a_broad_smile_narrows_when_the_jaw_opens(portraits) -> None:
    """Of the rendered face, whose mouth is relaxed, corners come closer by less."""

    def narrowing(name: str) -> float:
        avatar = portraits[name]
        lips = measure(find_face(avatar.plate).landmarks)[0]
        moved = np.tensordot(mouth("aa"), read_art(avatar).fields.astype(np.float32), ([0], [1]))[0, ..., 0]
        corners = lips.centre + np.array([[-0.95], [0.95]]) * lips.half_px * lips.across - avatar.mouth_box[:2]
        shift = [moved[int(y) // 4, int(x) // 4] for x, y in corners]
        return float(shift[0] - shift[1]) / (2 * lips.half_px)

    assert 0.05 < narrowing("iris") < 0.14 < narrowing("astronaut") < 0.3


@pytest.mark.parametrize("name", PHOTOS)
@pytest.mark.parametrize("viseme", ["O", "U"])
def test_rounded_lips_are_open_above_and_below_their_corners(portraits, name, viseme) -> None:
    """So that the opening is an ellipse, not half a disc, however the photo's smile bends the line."""
    rows, columns = np.nonzero(opening(portraits[name], mouth(viseme)))
    corners = [float(rows[columns == side].mean()) for side in (columns.min() + 1, columns.max() - 1)]
    middle = rows[np.abs(columns - columns.mean()) < 2]
    corner = float(np.mean(corners))
    height = float(np.ptp(middle))
    assert middle.min() + 0.15 * height < corner < middle.max() - 0.15 * height


def test_a_photo_without_colours_has_a_mouth_without_them(tmp_path, ear) -> None:
    grey = cv2.cvtColor(cv2.cvtColor(iris_photo(), cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    avatar = load_avatar(create_portrait(grey, PortraitOptions(tmp_path, "grey", "Grey"), ear).folder)
    assert np.ptp(painter(avatar).draw(mouth("aa")).astype(int), axis=-1).max() <= 2


def test_an_open_mouth_is_closed_and_that_is_said(tmp_path, ear) -> None:
    made = create_portrait(astronaut_photo(), PortraitOptions(tmp_path, "smiles", "Smiles"), ear)
    assert any("open mouth" in warning for warning in made.warnings)
    assert measure(find_face(astronaut_photo()).landmarks)[0].gap > 0.2
    assert measure(find_face(load_avatar(made.folder).plate).landmarks)[0].gap < 0.12


@pytest.mark.parametrize("name", PHOTOS)
def test_closed_lids_hide_the_eyes_and_nothing_else_moves(portraits, name) -> None:
    avatar = portraits[name]
    by_state = {(crop.lid, crop.gaze, crop.brow_raise): crop.image.astype(int) for crop in avatar.eyes}
    rest, closed = by_state[0.0, (0.0, 0.0), 0.0], by_state[1.0, (0.0, 0.0), 0.0]
    left, top, right, bottom = avatar.eye_box
    assert np.abs(rest - avatar.plate[top:bottom, left:right]).max() <= 1
    change = np.abs(closed - rest).max(-1)
    landmarks = find_face(avatar.plate).landmarks
    for corners in ((33, 133), (362, 263)):
        x, y = (int(value) for value in landmarks[list(corners), :2].mean(0) - (left, top))
        pupil = (slice(y - 5, y + 2), slice(x - 4, x + 5))
        assert closed[pupil].mean() > rest[pupil].mean() + 25
    assert max(change[:2].max(), change[:, :2].max(), change[:, -2:].max()) <= 2


@pytest.mark.parametrize("name", PHOTOS)
def test_head_and_gaze_follow_the_style(portraits, name) -> None:
    def frame(**style) -> np.ndarray:
        actor = Actor(portraits[name], seed=0, style=Style(alive=False, **style))
        return cv2.cvtColor(bgr(actor.draw(0, None)), cv2.COLOR_BGR2GRAY).astype(np.float32)

    def moved(before: np.ndarray, after: np.ndarray) -> tuple[int, int]:
        """Return where the nose went: pixels right and down."""
        x, y = (int(value) for value in find_face(portraits[name].plate).landmarks[1, :2])
        patch = before[y - 24 : y + 24, x - 24 : x + 24]
        found = cv2.minMaxLoc(cv2.matchTemplate(after, patch, cv2.TM_CCOEFF_NORMED))[3]
        return found[0] - (x - 24), found[1] - (y - 24)

    rest = frame()
    right, _ = moved(frame(pose=(0.0, -3.0, 0.0)), frame(pose=(0.0, 3.0, 0.0)))
    _, down = moved(frame(pose=(-3.0, 0.0, 0.0)), frame(pose=(3.0, 0.0, 0.0)))
    assert right >= 5
    assert down >= 5
    assert np.abs(frame(gaze=(1.0, 0.0)) - rest).max() > 20


def test_a_turned_photo_becomes_an_avatar(tmp_path, ear) -> None:
    made = create_portrait(turned(iris_photo(), 30), PortraitOptions(tmp_path, "turned", "Turned"), ear)
    avatar = load_avatar(made.folder)
    assert open_rows(avatar, mouth("aa")) > 5


def test_the_model_draws_the_same_mouth_alone_and_in_a_batch(portraits) -> None:
    model = PortraitModel(portraits["iris"], OnnxRuntime(threads=1))
    weights = np.stack([mouth("aa"), mouth("U"), mouth("PP")])
    together = model.draw(weights)
    width, height = portraits["iris"].model.crop_size
    assert together.shape == (3, height * 3 // 2, width)
    assert all(np.array_equal(model.draw(row[None])[0], crop) for row, crop in zip(weights, together, strict=True))


def torch_mouth(avatar: Avatar):
    from webrtc_avatar.engine.portrait_torch import TorchMouth

    left, top, right, bottom = avatar.mouth_box
    return TorchMouth(read_art(avatar), avatar.fine[2 * top : 2 * bottom, 2 * left : 2 * right], "cpu")


@pytest.mark.parametrize("name", PHOTOS)
def test_a_batch_of_tensors_is_drawn_as_the_mouths_are_drawn_alone(portraits, name) -> None:
    from webrtc_avatar.engine.portrait_torch import draw_mouths

    weights = np.stack([mouth(viseme) for viseme in VISEMES])
    together = draw_mouths([torch_mouth(portraits[name])] * len(weights), weights)
    for crop, row in zip(together, weights, strict=True):
        difference = np.abs(crop.astype(int) - painter(portraits[name]).draw(row))
        assert difference.mean() < 0.6
        assert np.quantile(difference, 0.999) <= 6


def test_mouths_of_several_portraits_are_sampled_together_to_the_bit_as_alone(portraits) -> None:
    from webrtc_avatar.engine.portrait_torch import draw_mouths

    mouths = [torch_mouth(portraits[name]) for name in ("iris", "astronaut", "iris", "astronaut")]
    weights = np.stack([mouth(viseme) for viseme in ("aa", "O", "TH", "FF")])
    together = draw_mouths(mouths, weights)
    for one, row, crop in zip(mouths, weights, together, strict=True):
        assert np.array_equal(draw_mouths([one], row[None])[0], crop)
    assert together[0].shape != together[1].shape


def test_the_photo_is_turned_as_its_exif_data_says() -> None:
    upright = read_photo(ASTRONAUT.read_bytes())
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    data = ASTRONAUT.read_bytes()
    tagged = data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]
    assert np.array_equal(read_photo(tagged), cv2.rotate(upright, cv2.ROTATE_90_CLOCKWISE))


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + bytes(40), ASTRONAUT.read_bytes()[:400]])
def test_what_is_no_photo_is_refused(data) -> None:
    with pytest.raises(CannotImport, match="photo"):
        read_photo(data)


def test_no_face_leaves_nothing_behind_unless_the_picture_is_taken_as_a_centred_face(tmp_path, ear) -> None:
    photo = np.full((300, 400, 3), (90, 120, 160), np.uint8)
    options = PortraitOptions(tmp_path / "into", "grey", "Grey")
    with pytest.raises(NoFaceFound):
        create_portrait(photo, options, ear)
    assert not (tmp_path / "into").exists()
    made = create_portrait(photo, options, ear, landmarks=centred_landmarks(photo, ear))
    avatar = load_avatar(made.folder)
    assert np.abs(painter(avatar).draw(mouth("aa")).astype(int) - plate_crop(avatar)).max() > 40


def test_a_taken_name_and_a_wrong_name_are_refused(tmp_path, ear) -> None:
    (tmp_path / "me").mkdir()
    with pytest.raises(AvatarExists):
        create_portrait(iris_photo(), PortraitOptions(tmp_path, "me", "Me"), ear)
    with pytest.raises(CannotImport, match="a-z"):
        create_portrait(iris_photo(), PortraitOptions(tmp_path, "../me", "Me"), ear)


@pytest.mark.parametrize("broken", ["fields", "inner", "tongue"])
def test_a_damaged_mouth_is_refused_by_name(tmp_path, ear, broken) -> None:
    folder = create_portrait(iris_photo(), PortraitOptions(tmp_path, "me", "Me"), ear).folder
    with np.load(folder / "mouth.npz") as arrays:
        parts = dict(arrays)
    parts[broken] = parts[broken][:1]
    kept = io.BytesIO()
    np.savez_compressed(kept, **parts)
    (folder / "mouth.npz").write_bytes(kept.getvalue())
    with pytest.raises(InvalidAvatar, match=broken):
        read_art(load_avatar(folder))


def test_the_weights_are_those_that_the_shipped_ear_hears(ear) -> None:
    assert ear.model.weights == WEIGHTS
