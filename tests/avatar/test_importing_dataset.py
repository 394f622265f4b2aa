"""SyncTalk_2D datasets become packages, or a clear error and nothing on disk."""

import pickle
import struct

import cv2
import numpy as np
import pytest
import torch

from tests.avatar import footage_parts as parts
from tests.nets.seeded import encoder_arrays, generator_arrays
from webrtc_avatar.avatar.footage import FootageAvatar, read_features
from webrtc_avatar.avatar.footage_painter import FootagePainter
from webrtc_avatar.avatar.importing import ImportOptions, import_avatar
from webrtc_avatar.avatar.importing.landmarks import face_box
from webrtc_avatar.avatar.package import load_avatar
from webrtc_avatar.errors import AvatarExists, CannotImport, InvalidAvatar


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Files of a generator and an audio encoder as torch.save writes them."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for name, arrays in (
        ("99.pth", generator_arrays(160)),
        ("large.pth", generator_arrays(328)),
        ("audio_encoder.pth", encoder_arrays()),
    ):
        torch.save({key: torch.from_numpy(value) for key, value in arrays.items()}, folder / name)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Options that name networks which take no time."""
    folder = tmp_path_factory.mktemp("tiny")
    return {
        "checkpoint": parts.write_generator(folder / "generator.onnx", side=160),
        "encoder": parts.write_encoder(folder / "audio_encoder.onnx"),
    }


@pytest.fixture
def source(tmp_path):
    return parts.make_dataset(tmp_path / "SyncTalk" / "dataset" / "May")


@pytest.fixture
def repository(source, checkpoints):
    """The dataset within a checkout of SyncTalk_2D."""
    folder = source
    (folder.parent.parent / "checkpoint").mkdir()
    (folder.parent.parent / "checkpoint" / "May").symlink_to(checkpoints)
    (folder.parent.parent / "model").mkdir()
    (folder.parent.parent / "model" / "checkpoints").symlink_to(checkpoints)
    return folder


@pytest.fixture
def into(tmp_path):
    return tmp_path / "avatars"


def refused(source, into, match, *, error=InvalidAvatar, **options):
    """Import, expect an error, and see that nothing was left behind."""
    with pytest.raises(error, match=match) as caught:
        import_avatar(source, ImportOptions(into, **options))
    assert not into.exists()
    assert len(caught.value.message) < 600
    return caught.value


def test_a_dataset_becomes_an_avatar_with_its_checkpoint_found_where_the_original_looks(repository, into):
    told = []
    imported = import_avatar(repository, ImportOptions(into), lambda *what: told.append(what))
    avatar = load_avatar(imported.folder)
    assert imported.folder == into / "may"
    assert isinstance(avatar, FootageAvatar)
    assert (avatar.name, avatar.title, avatar.frame_count) == ("may", "May", parts.COUNT)
    assert (avatar.model.kind, avatar.model.size, avatar.model.chunks_after) == ("synctalk2d", 160, 11)
    assert avatar.boxes.tolist() == [list(parts.box(number)) for number in range(parts.COUNT)]
    assert np.array_equal(read_features(avatar), parts.features())
    for number in range(parts.COUNT):
        found = (imported.folder / "frames" / f"{number:06d}.jpg").read_bytes()
        assert found == (repository / "full_body_img" / f"{number}.jpg").read_bytes()
        x0, y0, x1, y1 = parts.box(number)
        decoded = cv2.imread(str(repository / "full_body_img" / f"{number}.jpg"))
        assert np.array_equal(avatar.faces[number], cv2.resize(decoded[y0:y1, x0:x1], (168, 168)))
        assert np.array_equal(FootagePainter(avatar).paint(number, None), decoded)
    assert ("frames", parts.COUNT, parts.COUNT) in told
    assert [path.name for path in into.iterdir()] == ["may"]


def test_the_large_network_takes_cubic_crops(repository, into, checkpoints):
    imported = import_avatar(repository, ImportOptions(into, checkpoint=checkpoints / "large.pth", chunks_after=7))
    avatar = load_avatar(imported.folder)
    x0, y0, x1, y1 = parts.box(3)
    decoded = cv2.imread(str(repository / "full_body_img" / "3.jpg"))
    expected = cv2.resize(decoded[y0:y1, x0:x1], (328, 328), interpolation=cv2.INTER_CUBIC)
    assert avatar.model.size == 328
    assert avatar.model.chunks_after == 7
    assert np.array_equal(avatar.faces[3], expected)


def test_an_avatar_that_is_there_is_kept_unless_it_is_to_be_replaced(source, into, tiny):
    folder = import_avatar(source, ImportOptions(into, title="First", **tiny)).folder
    with pytest.raises(AvatarExists, match="may is there already"):
        import_avatar(source, ImportOptions(into, title="Second", **tiny))
    assert load_avatar(folder).title == "First"
    (source / "landmarks" / "2.lms").write_text("nonsense")
    with pytest.raises(CannotImport):
        import_avatar(source, ImportOptions(into, title="Third", force=True, **tiny))
    assert load_avatar(folder).title == "First"
    (source / "landmarks" / "2.lms").write_text(parts.landmarks(parts.box(2)))
    import_avatar(source, ImportOptions(into, title="Second", force=True, **tiny))
    assert load_avatar(folder).title == "Second"
    assert [path.name for path in into.iterdir()] == ["may"]


def test_a_crop_that_leaves_the_frame_to_the_right_or_below_is_cut(source, into, tiny):
    (source / "landmarks" / "1.lms").write_text(parts.landmarks((120, 80, 190, 150)))
    avatar = load_avatar(import_avatar(source, ImportOptions(into, **tiny)).folder)
    assert avatar.boxes[1].tolist() == [120, 80, 160, 120]
    decoded = cv2.imread(str(source / "full_body_img" / "1.jpg"))
    assert np.array_equal(avatar.faces[1], cv2.resize(decoded[80:120, 120:160], (168, 168)))


def test_landmarks_with_decimals_are_read_as_float32_and_cut_off():
    text = parts.landmarks((10.99, 20.999, 60.5, 70)).replace("\n", "\n\n").encode()
    assert face_box(text, (640, 480), "x").tolist() == [10, 20, 60, 70]
    assert face_box(parts.landmarks((99.9999999, 7.0, 160, 8)).encode(), (640, 480), "x")[0] == 100


def test_a_dataset_without_features_is_imported_with_a_note(source, into, tiny):
    (source / "aud_ave.npy").unlink()
    imported = import_avatar(source, ImportOptions(into, **tiny))
    assert read_features(load_avatar(imported.folder)) is None
    assert "there is no aud_ave.npy" in imported.warnings[0]


def test_a_png_dataset_keeps_its_pictures(source, into, tiny):
    for number in range(parts.COUNT):
        (source / "full_body_img" / f"{number}.jpg").unlink()
        cv2.imwrite(str(source / "full_body_img" / f"{number}.png"), parts.picture(number))
    avatar = load_avatar(import_avatar(source, ImportOptions(into, **tiny)).folder)
    assert np.array_equal(avatar.frame(4), parts.picture(4))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "has 0 bytes"),
        ("\n", "has 0 points, expected 110"),
        (parts.landmarks((50, 40, 110, 100)) + "1 2\n", "has 111 points"),
        (parts.landmarks((50, 40, 110, 100)).replace("50 5.5", "nan 5.5"), r"point 1 is \(nan"),
        (parts.landmarks((50, 40, 110, 100)).replace("50 5.5", "inf 5.5"), r"point 1 is \(inf"),
        (parts.landmarks((50, 40, 110, 100)).replace("50 5.5", "1e30 5.5"), "which is no place"),
        (parts.landmarks((50, 40, 110, 100)).replace("50 5.5", "50"), "point 1: expected 'x y'"),
        (parts.landmarks((50, 40, 50, 100)), "expected at least 8 pixels"),
        (parts.landmarks((110, 40, 50, 100)), "expected at least 8 pixels"),
        (parts.landmarks((300, 40, 360, 100)), "expected at least 8 pixels"),
        (parts.landmarks((-3, 40, 110, 100)), r"begins at \(-3, 40\), outside of the picture"),
        (parts.landmarks((50, -1, 110, 100)), r"begins at \(50, -1\), outside"),
        ("\0" * 200, "has 1 points"),
    ],
)
def test_landmarks_that_make_no_face_name_their_file(source, into, text, match, tiny):
    (source / "landmarks" / "3.lms").write_text(text)
    assert "landmarks/3.lms" in refused(source, into, match, **tiny).message


def huge_png():
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 65535, 65535, 8, 2, 0, 0, 0) + b"\0" * 64


def huge_jpeg():
    data = bytearray(cv2.imencode(".jpg", parts.picture(0))[1].tobytes())
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = struct.pack(">HH", 65535, 65535)
    return bytes(data)


def greedy_png():
    """A chunk that claims 4 GB, which OpenCV 5 would take."""
    data = bytearray(cv2.imencode(".png", parts.picture(0))[1].tobytes())
    data[33:37] = b"\xff" * 4
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (greedy_png(), "is cut short, or one of its chunks is"),
        (huge_jpeg(), "65535x65535 pixels, expected sides of 64 to 4096"),
        (huge_png(), "65535x65535 pixels"),
        (b"<html>", "is neither JPEG nor PNG"),
        (b"", "has 0 bytes"),
        (cv2.imencode(".jpg", parts.picture(0))[1].tobytes()[:900], "is cut short"),
        (cv2.imencode(".jpg", parts.picture(0, 320, 240))[1].tobytes(), "all must be alike"),
        (cv2.imencode(".jpg", np.zeros((40, 40, 3), np.uint8))[1].tobytes(), "40x40 pixels, expected sides"),
    ],
)
def test_pictures_that_cannot_be_trusted_are_refused(source, into, data, match, tiny):
    (source / "full_body_img" / "3.jpg").write_bytes(data)
    assert "full_body_img/3.jpg" in refused(source, into, match, **tiny).message


def test_counts_that_differ_and_holes_are_refused(source, into, tiny):
    (source / "landmarks" / "5.lms").unlink()
    refused(source, into, "has 6 frames in full_body_img and 5 files in landmarks", **tiny)
    (source / "full_body_img" / "2.jpg").unlink()
    refused(source, into, r"lacks 2\.jpg", **tiny)


def test_links_that_lead_out_of_the_dataset_are_refused(source, into, tmp_path, tiny):
    secret = tmp_path / "secret.jpg"
    cv2.imwrite(str(secret), parts.picture(3))
    (source / "full_body_img" / "3.jpg").unlink()
    (source / "full_body_img" / "3.jpg").symlink_to(secret)
    refused(source, into, "is a link that leads out of the package", **tiny)


ran = []


def run():
    """What a pickle would run."""
    ran.append(True)


class Evil:
    def __reduce__(self):
        return run, ()


def objects(path):
    np.save(path, np.array([{}, Evil()], object), allow_pickle=True)


def claims_much(path):
    np.save(path, parts.features())
    path.write_bytes(path.read_bytes().replace(b"(6, 512)", b"(9000000, 512)".ljust(8), 1))


@pytest.mark.parametrize(
    ("write", "match"),
    [
        (objects, "is not a .npy file of plain numbers"),
        (lambda path: path.write_bytes(pickle.dumps(Evil())), "is not a .npy file of plain numbers"),
        (claims_much, r"aud_ave\.npy"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), r"aud_ave\.npy"),
        (lambda path: np.save(path, parts.features(90)), "has 90 rows for 6 frames"),
        (lambda path: np.save(path, np.full((6, 512), np.nan, np.float32)), "row 0 has infinite or missing values"),
        (lambda path: np.save(path, np.zeros((6, 2, 1024), np.float32)), r"holds float32 \(6, 2, 1024\)"),
        (lambda path: np.save(path, np.zeros((6, 512), np.int64)), "holds int64"),
        (lambda path: np.save(path, np.zeros((0, 512), np.float32)), "has no rows"),
        (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 3000), r"aud_ave\.npy"),
    ],
)
def test_features_that_are_none_are_refused_and_nothing_in_them_runs(source, into, write, match, tiny):
    write(source / "aud_ave.npy")
    refused(source, into, match, **tiny)
    assert not ran


@pytest.mark.parametrize(
    ("write", "match"),
    [
        (lambda path: torch.save({"a": Evil()}, path), r"generator\.pth"),
        (lambda path: path.write_bytes(pickle.dumps(Evil())), r"generator\.pth"),
        (lambda path: path.write_bytes(b"no checkpoint"), r"generator\.pth"),
        (lambda path: path.write_bytes(b""), "is no file of 1 to"),
        (lambda path: torch.save({"inc.weight": torch.zeros(3)}, path), "SyncTalk_2D"),
        (lambda path: None, "is no file of 1 to|there is no checkpoint"),
    ],
)
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_checkpoints_that_are_none_are_refused_and_nothing_in_them_runs(repository, into, tmp_path, write, match):
    path = tmp_path / "generator.pth"
    write(path)
    refused(repository, into, match, checkpoint=path)
    assert not ran


def test_an_audio_encoder_beside_the_checkpoint_is_found(source, into, checkpoints):
    imported = import_avatar(source, ImportOptions(into, checkpoint=checkpoints / "99.pth"))
    assert load_avatar(imported.folder).model.size == 160


def test_what_is_missing_is_said_with_how_to_name_it(repository, into, tmp_path, checkpoints):
    (repository.parent.parent / "model" / "checkpoints").unlink()
    alone = tmp_path / "alone" / "99.pth"
    alone.parent.mkdir()
    alone.write_bytes((checkpoints / "99.pth").read_bytes())
    match = "name SyncTalk_2D's model/checkpoints/audio_visual_encoder.pth with --audio-encoder"
    refused(repository, into, match, checkpoint=alone)
    (repository.parent.parent / "checkpoint" / "May").unlink()
    refused(repository, into, "name it with --checkpoint")


@pytest.mark.parametrize("name", ["..", "a/b", "May", "x" * 65, "a b", "\n"])
def test_a_name_is_never_a_path(source, into, name, tiny):
    refused(source, into, "an avatar cannot be called", name=name, **tiny)


def test_a_folder_that_is_nothing_known_is_refused(tmp_path, into):
    refused(tmp_path, into, "is none of what can be imported")
    refused(tmp_path / "nowhere", into, "is no folder")


def test_a_place_that_cannot_be_written_to_is_told(source, tmp_path, tiny):
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotImport, match="--into"):
        import_avatar(source, ImportOptions(tmp_path / "file" / "avatars", **tiny))


def test_a_full_disk_is_told_before_anything_is_read(source, into, monkeypatch, tiny):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    refused(source, into, "make room", **tiny)


def test_an_import_that_is_interrupted_leaves_nothing_behind(source, into, tiny):
    def stop(what, done, _total):
        if what == "frames" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_avatar(source, ImportOptions(into, **tiny), stop)
    assert not into.exists()


def test_a_package_of_ours_is_copied_under_another_name(source, into, tmp_path, tiny):
    first = import_avatar(source, ImportOptions(into, **tiny)).folder
    second = import_avatar(first, ImportOptions(into, name="june", **tiny)).folder
    assert load_avatar(second).name == "june"
    assert np.array_equal(load_avatar(second).faces, load_avatar(first).faces)
    (first / "frames" / "000003.jpg").unlink()
    (first / "frames" / "000003.jpg").symlink_to("/etc/hostname")
    with pytest.raises(InvalidAvatar, match=r"may is broken: package: .*lacks 1 of 6 frames"):
        import_avatar(first, ImportOptions(into, name="july", **tiny))
    (first / "frames" / "000003.jpg").unlink()
    (first / "frames" / "000003.jpg").write_bytes(b"no picture")
    with pytest.raises(InvalidAvatar, match="is broken: frames: 1 of 6 cannot be shown"):
        import_avatar(first, ImportOptions(into, name="july"))
    assert sorted(path.name for path in into.iterdir()) == ["june", "may"]
