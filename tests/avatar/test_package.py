import struct
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.avatar.package_parts import IRIS, copy_iris, edit
from webrtc_avatar.avatar.files import image_size
from webrtc_avatar.avatar.package import load_avatar
from webrtc_avatar.errors import InvalidAvatar


@pytest.fixture
def package(tmp_path):
    return copy_iris(tmp_path / "iris")


def refusal(package):
    with pytest.raises(InvalidAvatar) as caught:
        load_avatar(package)
    return caught.value.message


def png_header(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + b"IHDR"
        + header
        + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    )


def test_iris_loads_with_everything_that_a_frame_needs():
    iris = load_avatar(IRIS)
    assert (iris.name, iris.title, iris.license, iris.frame_size) == ("iris", "Iris", "CC0-1.0", 512)
    assert iris.plate.shape == iris.background.shape == (512, 512, 3)
    assert iris.matte.shape == (512, 512)
    assert iris.plate.dtype == iris.background.dtype == iris.matte.dtype == np.uint8
    assert iris.mouth_box == (144, 248, 368, 408)
    assert iris.eye_box == (144, 152, 368, 248)
    assert len(iris.eyes) == 108
    assert {crop.image.shape for crop in iris.eyes} == {(96, 224, 3)}
    assert {crop.gaze for crop in iris.eyes} >= {(0, 0), (-1, 0), (1, 0), (0, 1), (0, -1)}
    assert all(field.ndim == 3 and field.shape[2] == 2 for field in iris.flow.values())
    assert iris.flow
    assert len(iris.model.weights) == 12
    assert len(iris.model.visemes) == 16
    assert (iris.model.chunks_before, iris.model.chunks_after) == (15, 1)
    assert iris.model.crop_size == (224, 160)
    assert iris.model.ear.is_file()
    assert iris.model.mouth.is_file()


def test_iris_stays_small():
    assert sum(path.stat().st_size for path in IRIS.rglob("*") if path.is_file()) <= 25_000_000


def test_pictures_are_those_on_disk_and_cannot_be_written_to(package):
    avatar = load_avatar(package)
    assert np.array_equal(avatar.plate, cv2.imread(str(package / "plate.png")))
    assert np.array_equal(avatar.eyes[7].image, cv2.imread(str(package / "eyes" / "07.png")))
    with pytest.raises(ValueError, match="read-only"):
        avatar.plate[0, 0] = 0


def test_webp_pictures_load(package):
    plate = cv2.imread(str(package / "plate.png"))
    cv2.imwrite(str(package / "plate.webp"), plate, [cv2.IMWRITE_WEBP_QUALITY, 101])
    edit(package, '"plate.png"', '"plate.webp"')
    assert np.array_equal(load_avatar(package).plate, plate)


def test_a_package_without_flow_has_a_still_head(package):
    edit(package, 'flow = "flow.npz"\n', "")
    assert load_avatar(package).flow == {}


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("format = 1", "format = 2", "format is 2, this version reads format = 1"),
        ("format = 1", "", "format is None"),
        ("format = 1", "format = [", "is not TOML in UTF-8"),
        ('title = "Iris"\n', "", "title: Field required"),
        ('title = "Iris"', 'title = "Iris"\nextra = 1', "extra: Extra inputs are not permitted"),
        ('name = "iris"', 'name = "../iris"', "name: String should match pattern"),
        ("frame_size = 512", "frame_size = 511", "frame_size: Input should be a multiple of 2"),
        ("frame_size = 512", "frame_size = 99998", "frame_size: Input should be less than or equal to 2048"),
        ("frame_size = 512", "frame_size = 400", "leaves the frame of 400x400"),
        (
            'kind = "viseme_kernel"',
            'kind = "magic"',
            "kind 'magic' is unknown; this version runs portrait, viseme_kernel",
        ),
        ('"jawOpen", ', "", "weights has 11 labels, 11 of them different; viseme_kernel needs 12"),
        ('"jawOpen", ', '"smile", ', "weights has 12 labels, 11 of them different"),
        ('"sil", ', "", "visemes has 15 labels"),
        ("chunks_after = 1", "chunks_after = 9", "model.chunks_after: Input should be less than or equal to 7"),
        ("[144, 248, 368, 408]", "[145, 248, 369, 408]", "has odd edges"),
        ("[144, 248, 368, 408]", "[368, 248, 144, 408]", "is empty or negative"),
        ("[144, 248, 368, 408]", "[-2, 248, 222, 408]", "is empty or negative"),
        ("[144, 248, 368, 408]", "[300, 248, 524, 408]", "leaves the frame of 512x512"),
        ("[144, 248, 368, 408]", "[144, 248, 368]", "mouth.box"),
        ("[144, 248, 368, 408]", "[144, 248, 368, 258]", "feather 8 is too wide for box [144, 248, 368, 258]"),
        ("lid = 0.15", "lid = 1.5", "eyes.crops.1.lid: Input should be less than or equal to 1"),
        ("lid = 0.15", "lid = nan", "eyes.crops.1.lid"),
        ("lid = 0.15", "lid = 0.0", "two crops carry the same"),
        ("lid = 0.0", "lid = 0.01", "no crop at rest"),
        ("gaze = [0.0, 0.0]", 'gaze = "behind"', "eyes.crops.0.gaze: Input should be a valid tuple"),
        ("gaze = [0.0, 0.0]", "gaze = [0, 1.5]", "eyes.crops.0.gaze.1: Input should be less than or equal to 1"),
        ("gaze = [0.0, 0.0]", "gaze = [0]", "eyes.crops.0.gaze"),
        ('"plate.png"', '"missing.png"', "iris/missing.png cannot be read (FileNotFoundError)"),
        ('"plate.png"', '"eyes"', "iris/eyes is not a regular file"),
        ('"plate.png"', '"/etc/hostname"', "not a relative path within the package"),
        ('"plate.png"', '"eyes/../../iris/plate.png"', "not a relative path within the package"),
        ('"plate.png"', '"c:plate.png"', "not a relative path within the package"),
        ('"plate.png"', '"ear.onnx"', "iris/ear.onnx is neither PNG nor WebP"),
        ('"plate.png"', '"eyes/00.png"', "iris/eyes/00.png is 224x96 pixels, avatar.toml needs 512x512"),
        ('"flow.npz"', '"plate.png"', "is not a readable .npz of plain arrays"),
    ],
)
def test_a_wrong_manifest_is_refused_and_the_message_says_why(package, before, after, message):
    edit(package, before, after)
    assert message in refusal(package)


def test_a_missing_manifest_is_refused(tmp_path):
    assert "avatar.toml cannot be read" in refusal(tmp_path)


def test_an_oversized_manifest_is_refused(package):
    with (package / "avatar.toml").open("a") as manifest:
        manifest.write("#" * 300_000)
    assert "expected 1 to 262144" in refusal(package)


def test_a_manifest_that_is_not_text_is_refused(package):
    (package / "avatar.toml").write_bytes(b"\xff\xfe\x00")
    assert "is not TOML in UTF-8" in refusal(package)


@pytest.mark.parametrize("name", ["ear.onnx", "mouth.onnx"])
def test_a_missing_or_empty_network_is_refused(package, name):
    (package / name).write_bytes(b"")
    assert f"iris/{name} has 0 bytes" in refusal(package)
    (package / name).unlink()
    assert f"iris/{name} cannot be read" in refusal(package)


def test_a_link_out_of_the_package_is_refused(package, tmp_path):
    outside = tmp_path / "secret.png"
    (package / "plate.png").rename(outside)
    (package / "plate.png").symlink_to(outside)
    assert "is a link that leads out of the package" in refusal(package)


def test_a_link_to_itself_is_refused(package):
    (package / "plate.png").unlink()
    (package / "plate.png").symlink_to("plate.png")
    assert "iris/plate.png cannot be read" in refusal(package)


def test_a_decompression_bomb_is_refused_by_its_header(package, monkeypatch):
    (package / "plate.png").write_bytes(png_header(60_000, 60_000) + b"\0" * 64)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded before the size was checked"))
    assert "iris/plate.png is 60000x60000 pixels, the limit is 4096" in refusal(package)


@pytest.mark.parametrize("keep", [40, 2_000])
def test_a_truncated_picture_is_refused(package, keep):
    (package / "eyes" / "05.png").write_bytes((package / "eyes" / "05.png").read_bytes()[:keep])
    assert "iris/eyes/05.png is damaged" in refusal(package)


def test_a_picture_whose_chunk_claims_four_gigabytes_is_refused_before_it_is_decoded(package):
    data = bytearray((package / "eyes" / "05.png").read_bytes())
    data[33:37] = b"\xff" * 4
    (package / "eyes" / "05.png").write_bytes(data)
    assert "iris/eyes/05.png is damaged: it is cut short, or one of its chunks is" in refusal(package)


@pytest.mark.parametrize("lossless", [True, False])
def test_webp_sizes_are_read_from_the_header(lossless):
    image = np.zeros((30, 50, 3), np.uint8)
    data = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 101 if lossless else 80])[1].tobytes()
    assert image_size(data) == (50, 30)
    assert image_size(data[:20]) is None


def write_flow(package, **fields):
    np.savez(package / "flow.npz", **fields)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (np.zeros((4, 4), np.float32), "field 'yaw' is float32 (4, 4), expected float16 or float32 (rows, cols, 2)"),
        (np.zeros((4, 4, 2), np.int32), "field 'yaw' is int32"),
        (np.zeros((0, 4, 2), np.float32), "field 'yaw' is float32 (0, 4, 2)"),
        (np.full((4, 4, 2), np.nan, np.float32), "field 'yaw' has infinite or missing values"),
    ],
)
def test_a_flow_of_the_wrong_kind_is_refused(package, field, message):
    write_flow(package, yaw=field)
    assert message in refusal(package)


def test_pickled_arrays_are_refused_without_being_unpickled(package):
    class Trap:
        def __reduce__(self):
            return pytest.fail, ("the package ran code",)

    np.savez(package / "flow.npz", yaw=np.array([Trap()], dtype=object))
    assert "is not a readable .npz of plain arrays" in refusal(package)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (b"(4, 4, 2), }" + b" " * 9, b"(99999, 99999, 2), }" + b" ", "claims float32 (99999, 99999, 2)"),
        (b"(4, 4, 2)", b"(((((((((", "is not a readable .npz"),
        (b"NUMPY", b"numpy", "is not a readable .npz"),
    ],
)
def test_arrays_with_a_false_header_are_refused(package, before, after, message):
    write_flow(package, yaw=np.zeros((4, 4, 2), np.float32))
    with zipfile.ZipFile(package / "flow.npz") as archive:
        data = archive.read("yaw.npy")
    assert before in data
    with zipfile.ZipFile(package / "flow.npz", "w") as archive:
        archive.writestr("yaw.npy", data.replace(before, after))
    assert message in refusal(package)


def test_a_flow_that_unpacks_to_too_much_is_refused(package):
    with zipfile.ZipFile(package / "flow.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("yaw.npy", bytes(80_000_000))
    assert "unpacks to 1 arrays of 80000000 bytes" in refusal(package)


def test_a_shipped_manifest_lists_only_files_that_exist():
    text = (IRIS / "avatar.toml").read_text()
    assert "shared" not in text
    assert not any(Path(line.split('"')[1]).is_absolute() for line in text.splitlines() if line.startswith("file"))
