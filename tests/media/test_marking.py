"""What files say of their origin, as ExifTool, FFmpeg and OpenCV read it."""

import json
import re
import subprocess

import cv2
import numpy as np
import pytest

from webrtc_avatar.media.hls import HlsWriter
from webrtc_avatar.media.marking import SOURCE_TYPE, TOOL, Marking
from webrtc_avatar.render.mp4 import Mp4

MARKING = Marking('"iris" <&>')
PICTURE = np.full((96, 64), 128, np.uint8)
RATES = {"rate_hz": 48_000, "channels": 1}


def said(path):
    """Return a file's metadata by group and name, as ExifTool reads it."""
    shown = subprocess.run(["exiftool", "-j", "-G1", path], capture_output=True, text=True, check=True)
    [fields] = json.loads(shown.stdout)
    assert "ExifTool:Warning" not in fields, fields
    return fields


def check(fields):
    assert fields["XMP-iptcExt:DigitalSourceType"] == SOURCE_TYPE
    assert fields["XMP-xmp:CreatorTool"] == TOOL
    assert fields["XMP-dc:Description"] == f'Synthetic media: an AI-generated talking face ({TOOL}, avatar "iris" <&>)'


def decoded(path, complain="warning"):
    """Return the number of pictures that FFmpeg decodes without a word of complaint."""
    done = subprocess.run(
        ["ffmpeg", "-v", complain, "-xerror", "-i", path, "-map", "0", "-f", "framemd5", "-"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return sum(line.startswith("0,") for line in done.stdout.splitlines())


@pytest.mark.parametrize("name", ["film.mp4", "film.m4v", "film.mov"])
def test_a_film_says_that_it_is_synthetic_and_plays(tmp_path, name):
    path = tmp_path / name
    with Mp4(path, marking=MARKING, **RATES) as mp4:
        for _ in range(30):
            mp4.add(PICTURE, np.zeros((1920, 1), np.float32))
    fields = said(path)
    check(fields)
    assert MARKING.text in (fields.get("ItemList:Comment"), fields.get("UserData:Comment"))
    assert decoded(path) == 30


def test_a_film_of_nobody_in_particular_is_marked_too(tmp_path):
    with Mp4(tmp_path / "film.mp4", **RATES) as mp4:
        mp4.add(PICTURE, np.zeros((1920, 1), np.float32))
    assert said(tmp_path / "film.mp4")["XMP-iptcExt:DigitalSourceType"] == SOURCE_TYPE


def test_equal_films_are_equal_files(tmp_path):
    for name in ("one.mp4", "two.mp4"):
        with Mp4(tmp_path / name, marking=MARKING, **RATES) as mp4:
            mp4.add(PICTURE, np.zeros((1920, 1), np.float32))
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_a_stream_says_it_in_its_header_and_whoever_joins_the_files_keeps_it(tmp_path):
    writer = HlsWriter(tmp_path, preset="ultrafast", marking=MARKING)
    for _ in range(60):
        writer.add(PICTURE, np.zeros(1920, np.float32))
    writer.finish()
    segments = re.findall(r"^seg_\S+$", (tmp_path / "playlist.m3u8").read_text(), re.MULTILINE)
    names = ["init.mp4", *segments]
    (tmp_path / "whole.mp4").write_bytes(b"".join((tmp_path / name).read_bytes() for name in names))
    for name in ("init.mp4", "whole.mp4"):
        fields = said(tmp_path / name)
        check(fields)
        assert fields["ItemList:Comment"] == MARKING.text
    assert decoded(tmp_path / "whole.mp4") == decoded(tmp_path / "playlist.m3u8") == 60


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".jpg", []),
        (".png", []),
        (".webp", [cv2.IMWRITE_WEBP_QUALITY, 90]),
        (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]),
    ],
    ids=["jpeg", "png", "webp lossy", "webp lossless"],
)
@pytest.mark.parametrize("size", [(64, 96), (33, 57)])
def test_a_picture_says_it_and_its_pixels_stay_as_they_are(tmp_path, suffix, options, size):
    pixels = np.random.default_rng(1).integers(0, 255, (*size, 3), np.uint8)
    plain = cv2.imencode(suffix, pixels, options)[1].tobytes()
    marked = MARKING.in_image(plain)
    (tmp_path / f"picture{suffix}").write_bytes(marked)
    fields = said(tmp_path / f"picture{suffix}")
    check(fields)
    assert fields["Composite:ImageSize"] == f"{size[1]}x{size[0]}"
    shown, before = (cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in (marked, plain))
    assert np.array_equal(shown, before)
    assert decoded(tmp_path / f"picture{suffix}", "error") == 1  # it says that it leaves a WebP's packet out


def test_a_picture_with_transparency_keeps_it(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 255, (40, 60, 4), np.uint8)
    for quality in (80, 101):
        plain = cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()
        (tmp_path / "picture.webp").write_bytes(MARKING.in_image(plain))
        check(said(tmp_path / "picture.webp"))
        shown = cv2.imread(str(tmp_path / "picture.webp"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(shown, cv2.imdecode(np.frombuffer(plain, np.uint8), cv2.IMREAD_UNCHANGED))


def test_what_is_no_picture_stays_as_it_is():
    for data in (b"", b"RIFF0000AVI ", bytes(3 * 64 * 64)):
        assert MARKING.in_image(data) == data
