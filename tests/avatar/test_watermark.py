import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from tests.avatar import footage_parts as parts
from tests.avatar.portrait_parts import IRIS, iris_photo
from tests.watermark_parts import likeness
from webrtc_avatar.avatar import watermark as module
from webrtc_avatar.avatar.casting import make_actor
from webrtc_avatar.avatar.compose import bgr, i420
from webrtc_avatar.avatar.library import Library
from webrtc_avatar.avatar.package import load_avatar
from webrtc_avatar.avatar.portrait import PortraitOptions, create_portrait
from webrtc_avatar.avatar.watermark import MAX_CHARS, Watermark, Watermarks
from webrtc_avatar.errors import InvalidSettings
from webrtc_avatar.settings import Settings

LABEL = Watermark("AI-generated")


def flat(level, width=512, height=512):
    return np.full((height, width, 3), level, np.uint8)


def changed(picture, plain):
    """Left, top, right, bottom of what differs."""
    rows, columns = np.nonzero(np.abs(picture.astype(int) - plain).max(-1) > 3)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize("size", [(512, 512), (720, 720), (640, 360), (161, 121)])
@pytest.mark.parametrize(
    ("place", "right", "low"),
    [("top_left", 0, 0), ("top_right", 1, 0), ("bottom_left", 0, 1), ("bottom_right", 1, 1)],
)
def test_it_lies_in_its_corner_and_the_rest_stays_as_it_is(size, place, right, low):
    plain = flat(200, *size)
    picture = Watermark("AI-generated", place).burn(plain, "bgr")
    assert (plain == 200).all()
    x0, y0, x1, y1 = changed(picture, plain)
    margin = 3 + 0.025 * min(size)
    assert (size[0] - x1 if right else x0) <= margin
    assert (size[1] - y1 if low else y0) <= margin
    assert 0.05 < (y1 - y0) / min(size) < 0.11
    assert (x1 - x0) / min(size) < 0.35


@pytest.mark.parametrize("level", [0, 60, 128, 200, 255])
@pytest.mark.parametrize("size", [512, 720])
def test_letters_stand_out_on_dark_and_light_pictures(level, size):
    plain = flat(level, size, size)
    picture = LABEL.burn(plain, "bgr")
    x0, y0, x1, y1 = changed(picture, plain) if level else (size * 7 // 10, size * 92 // 100, size, size * 97 // 100)
    inside = picture[y0:y1, x0:x1, 0].astype(int)
    assert np.percentile(inside, 99) - np.median(inside) > 100


def test_both_layouts_look_alike():
    plain = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 255, (512, 512, 3), np.uint8), (0, 0), 9)
    from_i420 = bgr(LABEL.burn(i420(plain), "i420"))
    from_bgr = bgr(i420(LABEL.burn(plain, "bgr")))
    assert np.abs(from_i420.astype(int) - from_bgr).max() <= 8
    assert likeness(from_i420) > 0.95
    assert abs(likeness(plain)) < 0.4


def test_long_text_gets_smaller_letters_and_stays_in_the_picture():
    plain = flat(200)
    x0, _, x1, _ = changed(Watermark("m" * MAX_CHARS).burn(plain, "bgr"), plain)
    assert 0.8 * 512 < x1 - x0 < 0.97 * 512


def test_opacity_decides_how_much_shows_through():
    strong, weak = (Watermark("AI", opacity=opacity).burn(flat(255), "bgr").min() for opacity in (1.0, 0.3))
    assert strong < 110 < 200 < weak < 250


@pytest.fixture
def logo(tmp_path):
    """A red disc on transparent ground that is green underneath, 200x100."""
    alpha = cv2.circle(np.zeros((100, 200), np.uint8), (100, 50), 40, 255, -1, cv2.LINE_AA)
    png = np.dstack([np.zeros_like(alpha), np.where(alpha, 0, 255), np.where(alpha, 255, 0), alpha]).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "logo.PNG"), png)
    return tmp_path / "logo.PNG"


@pytest.mark.parametrize("layout", ["bgr", "i420"])
def test_a_png_keeps_its_shape_colours_and_transparency(logo, layout):
    plain = flat(180)
    mark = Watermark(str(logo), opacity=1.0)
    picture = mark.burn(plain, "bgr") if layout == "bgr" else bgr(mark.burn(i420(plain), "i420"))
    x0, y0, x1, y1 = changed(picture, plain)
    assert abs((x1 - x0) - (y1 - y0)) <= 4
    blue, green, red = picture[(y0 + y1) // 2, (x0 + x1) // 2].astype(int)
    assert red > 245
    assert max(blue, green) < 12
    assert picture[..., 1].max() <= 195, "what is transparent shines through at the edges"


@pytest.mark.parametrize("kind", ["grey", "colour", "grey with 16 bits"])
def test_a_png_without_transparency_is_taken_too_but_not_one_of_16_bits(tmp_path, kind):
    shape = (40, 60, 3) if kind == "colour" else (40, 60)
    cv2.imwrite(str(tmp_path / "x.png"), np.full(shape, 77, np.uint16 if "16" in kind else np.uint8))
    mark = Watermark(str(tmp_path / "x.png"), opacity=1.0)
    if "16" in kind:
        with pytest.raises(InvalidSettings, match="8 bits a channel"):
            mark.check()
    else:
        assert mark.burn(flat(200), "bgr").min() == 77


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        ("", "one line of 1 to 80 characters"),
        ("  ", "one line"),
        ("x" * 81, "one line"),
        ("two\nlines", "one line"),
        ("none.png", "cannot be read .*check its path"),
        ("text.png", "not one that can be used; expected a PNG"),
        ("broken.png", "does not decode"),
        ("nul\0.png", "cannot be read"),
    ],
)
def test_what_cannot_be_drawn_stops_the_start_with_words(tmp_path, monkeypatch, mark, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.png").write_text("I am a picture, am I not?")
    (tmp_path / "broken.png").write_bytes(cv2.imencode(".png", flat(3, 64, 64))[1].tobytes()[:60])
    for setting in ("watermark", "watermark_portraits"):
        with pytest.raises(ValidationError, match=words):
            Settings(**{setting: mark})


def test_opencv_4_draws_ascii_and_says_so_of_the_rest(monkeypatch):
    monkeypatch.delattr(module.cv2, "FontFace")
    Watermark("AI-generated").check()
    plain = flat(200)
    picture = Watermark("AI-made", "top_left").burn(plain, "bgr")
    assert 0.1 < (changed(picture, plain)[2]) / 512 < 0.3
    with pytest.raises(InvalidSettings, match=r"draws ASCII alone.*or give a \.png"):
        Watermark("künstlich").check()


def test_avatars_of_photos_may_have_a_mark_of_their_own(tmp_path):
    iris, footage = Library().get("iris"), parts.make_footage(tmp_path / "painted")
    made = create_portrait(iris_photo(), PortraitOptions(tmp_path, "me", "Me"), load_avatar(IRIS))
    portrait = load_avatar(made.folder)
    nobody, only, both = (
        Settings(**fields).watermarks
        for fields in ({}, {"watermark_portraits": "photo"}, {"watermark": "all", "watermark_portraits": "photo"})
    )
    marks = [[of and of.mark for of in map(each.of, (iris, footage, portrait))] for each in (nobody, only, both)]
    assert marks == [[None] * 3, [None, None, "photo"], ["all", "all", "photo"]]
    assert Watermarks(everybody=LABEL).of(portrait) is LABEL


def test_a_picture_that_is_held_is_not_marked_twice(tmp_path):
    actor = make_actor(parts.make_footage(tmp_path / "painted"), seed=1, watermark=LABEL)
    face = np.full((168, 168, 3), 90, np.uint8)
    first, held, again = (actor.draw(tick, face) for tick in (0, 1, 2))
    assert np.array_equal(first, held)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, make_actor(parts.make_footage(tmp_path / "other"), seed=1).draw(0, face))


def test_a_marked_face_is_otherwise_the_face():
    iris = Library().get("iris")
    plain, marked = make_actor(iris, seed=1), make_actor(iris, seed=1, watermark=LABEL)
    for tick in range(3):
        a, b = plain.draw(tick, None), marked.draw(tick, None)
        assert np.array_equal(a[:440], b[:440])
        assert not np.array_equal(a[440:512], b[440:512])
    assert (marked.pose, marked.mouth_share, marked.style) == (plain.pose, plain.mouth_share, plain.style)
    marked.style = style = Settings(pose_style=(0, 5, 0)).style
    assert marked._actor.style is style
