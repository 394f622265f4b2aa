import json
import struct

import cv2
import numpy as np
import pytest

from tests.avatar import footage_parts as parts
from webrtc_avatar.avatar.footage import FootageAvatar, read_features, to_and_fro
from webrtc_avatar.avatar.footage_frames import FrameCache
from webrtc_avatar.avatar.footage_painter import FootagePainter
from webrtc_avatar.avatar.library import AvatarInfo, Library
from webrtc_avatar.avatar.package import drawn, load_avatar
from webrtc_avatar.avatar.tensors import TensorWriter, read_tensors, write_tensors
from webrtc_avatar.errors import EngineFailure, FrameOutOfRange, InvalidAvatar, InvalidRequest


@pytest.fixture
def avatar(tmp_path):
    return parts.make_footage(tmp_path / "painted")


def edit(avatar, before, after):
    manifest = avatar.folder / "avatar.toml"
    text = manifest.read_text()
    assert before in text
    manifest.write_text(text.replace(before, after, 1))


def test_footage_loads_with_its_frames_faces_boxes_and_features(avatar):
    assert isinstance(avatar, FootageAvatar)
    assert (avatar.width, avatar.height, avatar.frame_count) == (160, 120, 6)
    assert avatar.faces.shape == (6, 168, 168, 3)
    assert avatar.boxes.tolist() == [list(parts.box(number)) for number in range(6)]
    assert np.array_equal(read_features(avatar), parts.features())
    for number in (0, 5):
        assert np.array_equal(avatar.frame(number), parts.picture(number))
    for array in (avatar.faces, avatar.boxes, avatar.frame(0)):
        assert not array.flags.writeable


def test_the_library_lists_footage_beside_drawn_avatars_and_loads_it(avatar):
    library = Library([avatar.folder.parent], shipped=False)
    assert library.infos() == [AvatarInfo("painted", "Painted", "footage", 160, 120, 6)]
    assert isinstance(library.get("painted"), FootageAvatar)
    with pytest.raises(InvalidAvatar, match="'painted' is footage"):
        drawn(library.get("painted"))


def test_frames_of_odd_size_lose_their_last_row_and_column(tmp_path):
    avatar = parts.make_footage(tmp_path / "odd", width=161, height=121)
    assert (avatar.width, avatar.height) == (160, 120)
    assert Library([tmp_path], shipped=False).infos()[0].width == 160
    assert np.array_equal(avatar.frame(2), parts.picture(2, 161, 121)[:120, :160])


@pytest.mark.parametrize(
    ("count", "order"), [(1, [0, 0, 0]), (2, [0, 1, 0, 1]), (4, [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2])]
)
def test_footage_plays_to_and_fro_without_a_jump_or_a_repeat(count, order):
    assert [to_and_fro(frame, count) for frame in range(len(order))] == order


def test_a_frame_that_is_not_there_is_out_of_range(avatar):
    for number in (-1, 6, 10**9):
        with pytest.raises(FrameOutOfRange, match="it has 6, from 0 to 5"):
            avatar.frame(number)


def test_decoded_frames_are_kept_within_the_budget_and_the_oldest_goes_first():
    cache = FrameCache(budget_bytes=2500)
    made = []

    def make(number):
        return lambda: (made.append(number), np.zeros(1000, np.uint8))[1]

    for number in (0, 1, 0, 2, 0, 1):
        cache.get(("owner", number), make(number))
    assert made == [0, 1, 2, 1]
    assert cache.used_bytes == 2000
    cache.get(("owner", 9), lambda: np.zeros(3000, np.uint8))
    assert cache.used_bytes == 2000
    cache.forget("owner")
    cache.get(("other", 0), lambda: np.zeros(10, np.uint8))
    assert cache.used_bytes == 10


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("frame_count = 6", "frame_count = 7", r"expected uint8 \(7, 168, 168, 3\)"),
        ("size = 160", "size = 328", r"expected uint8 \(6, 328, 328, 3\)"),
        ("size = 160", "size = 256", "size"),
        ("width = 160", "width = 70", "box 0 is .* within 70x120"),
        ("width = 160", "width = 65535", "width"),
        ("frame_count = 6", "frame_count = 900000000", "frame_count"),
        ('audio = "audio.onnx"', 'audio = "../../../etc/hostname"', "not a relative path"),
        ('generator = "generator.onnx"', "", "onnx_generator needs generator"),
        ('kind = "onnx_generator"', 'kind = "synctalk2d"', "needs weights, image, face"),
        ('frame_type = "png"', 'frame_type = "png"\nframes = ".."', "not a relative path"),
        ('frame_type = "png"', 'frame_type = "jpg"', r"000000\.jpg cannot be read"),
    ],
)
def test_a_manifest_that_its_files_belie_is_refused(avatar, before, after, said):
    edit(avatar, before, after)
    with pytest.raises(InvalidAvatar, match=said):
        load_avatar(avatar.folder)


def test_a_missing_frame_and_one_that_is_a_link_are_refused(avatar, tmp_path):
    (tmp_path / "secret.png").write_bytes(b"secret")
    frame = avatar.folder / "frames" / "000003.png"
    frame.unlink()
    with pytest.raises(InvalidAvatar, match=r"lacks 1 of 6 frames, the first is 000003\.png"):
        load_avatar(avatar.folder)
    frame.symlink_to(tmp_path / "secret.png")
    with pytest.raises(InvalidAvatar, match="lacks 1 of 6 frames"):
        load_avatar(avatar.folder)


def png_header(width, height):
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", width, height, 8, 2, 0, 0, 0)
    return data + b"\0" * 64


def greedy_png():
    data = bytearray(cv2.imencode(".png", parts.picture(3))[1].tobytes())
    data[33:37] = b"\xff" * 4
    return bytes(data)


@pytest.mark.parametrize("data", [b"no picture", greedy_png(), png_header(65535, 65535), png_header(160, 120), b""])
def test_a_damaged_frame_is_refused_when_it_is_shown_and_harms_no_other(avatar, data):
    (avatar.folder / "frames" / "000003.png").write_bytes(data)
    loaded = load_avatar(avatar.folder)
    with pytest.raises(InvalidAvatar, match=r"000003\.png"):
        loaded.frame(3)
    assert loaded.frame(4).shape == (120, 160, 3)


@pytest.mark.parametrize(
    "header",
    [
        b"{}",
        b"[" * 50_000,
        b"not json",
        json.dumps({"faces": {"dtype": "U8", "shape": [2**39, 2**39], "data_offsets": [0, 16]}}).encode(),
        json.dumps({"faces": {"dtype": "U8", "shape": [-4, -4], "data_offsets": [0, 16]}}).encode(),
        json.dumps({"faces": {"dtype": "U8", "shape": [16], "data_offsets": [-16, 0]}}).encode(),
        json.dumps({"faces": {"dtype": "U8", "shape": [16], "data_offsets": [0, 10**9]}}).encode(),
        json.dumps({"faces": {"dtype": "object", "shape": [16], "data_offsets": [0, 16]}}).encode(),
        json.dumps({"faces": {"dtype": "U8", "shape": [16]}}).encode(),
        json.dumps({"faces": 7}).encode(),
        b"[1, 2]",
    ],
)
def test_faces_whose_header_is_untrue_are_refused(avatar, header):
    header = header.ljust(len(header) + -len(header) % 8)
    path = avatar.folder / "faces.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 16)
    with pytest.raises(InvalidAvatar, match=r"faces\.safetensors"):
        load_avatar(avatar.folder)


@pytest.mark.parametrize("data", [b"", b"1234567", struct.pack("<Q", 2**63) + b"{}", struct.pack("<Q", 10**7) + b"{}"])
def test_faces_whose_header_is_longer_than_the_file_are_refused(avatar, data):
    (avatar.folder / "faces.safetensors").write_bytes(data)
    with pytest.raises(InvalidAvatar, match=r"faces\.safetensors"):
        load_avatar(avatar.folder)


def test_tensors_that_overlap_are_refused(tmp_path):
    entries = {name: {"dtype": "U8", "shape": [16], "data_offsets": [0, 16]} for name in ("faces", "boxes")}
    header = json.dumps(entries).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 32)
    with pytest.raises(InvalidAvatar, match="needs 16 bytes from 16 on"):
        read_tensors(tmp_path, "x.safetensors")


def test_faces_that_are_cut_short_are_refused(avatar):
    path = avatar.folder / "faces.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InvalidAvatar, match="is not a sound safetensors file"):
        load_avatar(avatar.folder)


@pytest.mark.parametrize("box", [[0, 0, 0, 50], [-4, 0, 50, 50], [100, 0, 170, 50], [0, 90, 50, 130], [60, 60, 20, 90]])
def test_a_box_that_is_empty_or_leaves_the_frame_is_refused(avatar, box):
    boxes = avatar.boxes.copy()
    boxes[4] = box
    path = avatar.folder / "faces.safetensors"
    faces = np.array(avatar.faces)
    path.unlink()
    write_tensors(path, {"faces": faces, "boxes": boxes})
    with pytest.raises(InvalidAvatar, match="box 4 is"):
        load_avatar(avatar.folder)


def test_tensors_that_grow_row_by_row_are_read_back_by_us_and_by_safetensors(tmp_path):
    from safetensors.numpy import load_file

    rows = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    boxes = np.arange(20, dtype=np.int32).reshape(5, 4)
    with TensorWriter(tmp_path / "grown.safetensors", "faces", (7, 3), np.uint8) as writer:
        for row in rows:
            writer.append(row)
        writer.add("boxes", boxes)
    write_tensors(tmp_path / "whole.safetensors", {"faces": rows, "boxes": boxes})
    for name in ("grown.safetensors", "whole.safetensors"):
        for tensors in (read_tensors(tmp_path, name), load_file(tmp_path / name)):
            assert np.array_equal(tensors["faces"], rows)
            assert np.array_equal(tensors["boxes"], boxes)


@pytest.mark.parametrize(("size", "way"), [(160, cv2.INTER_LINEAR), (328, cv2.INTER_CUBIC)])
def test_a_face_is_resized_into_its_box_and_nothing_else_changes(tmp_path, size, way):
    avatar = parts.make_footage(tmp_path / "painted", size=size)
    painter = FootagePainter(avatar)
    crop_px = avatar.model.crop_px
    crop = np.random.default_rng(0).integers(0, 256, (crop_px, crop_px, 3), np.uint8)
    x0, y0, x1, y1 = painter.bounds(2)
    assert (x0, y0, x1, y1) == parts.box(2)
    expected = parts.picture(2)
    expected[y0:y1, x0:x1] = cv2.resize(crop, (x1 - x0, y1 - y0), interpolation=way)
    assert np.array_equal(painter.paint(2, crop), expected)
    assert np.array_equal(painter.paint(2, None), parts.picture(2))


def test_a_box_that_ends_with_an_odd_column_is_painted_up_to_the_even_edge(tmp_path):
    avatar = parts.make_footage(tmp_path / "odd", width=161, height=121)
    boxes = avatar.boxes.copy()
    boxes[0] = [100, 60, 161, 121]
    object.__setattr__(avatar, "boxes", boxes)
    painter = FootagePainter(avatar)
    crop = np.full((168, 168, 3), 9, np.uint8)
    assert painter.bounds(0) == (100, 60, 160, 120)
    assert (painter.paint(0, crop)[60:, 100:] == 9).all()


def test_the_painter_shows_crops_and_what_the_network_sees(avatar):
    painter = FootagePainter(avatar)
    assert painter.video_types == ("full_body", "crops_168", "rois_160", "model_inputs")
    assert np.array_equal(painter.footage(1, "full_body"), parts.picture(1))
    assert np.array_equal(painter.footage(1, "crops_168"), avatar.faces[1])
    inner = avatar.faces[1][4:164, 4:164]
    assert np.array_equal(painter.footage(1, "rois_160"), inner)
    seen = painter.footage(1, "model_inputs")
    assert not seen[5:150, 5:155].any()
    assert np.array_equal(seen[150:], inner[150:])
    with pytest.raises(InvalidRequest, match="has no video 'sideways'"):
        painter.footage(1, "sideways")
    for video in painter.video_types:
        with pytest.raises(FrameOutOfRange):
            painter.footage(6, video)


def test_a_face_of_another_size_is_the_engines_failure(avatar):
    with pytest.raises(EngineFailure, match=r"BGR uint8 \(168, 168, 3\)"):
        FootagePainter(avatar).paint(0, np.zeros((328, 328, 3), np.uint8))


def test_a_hidden_folder_is_no_avatar_yet(avatar):
    avatar.folder.rename(avatar.folder.parent / ".painted-abc")
    assert Library([avatar.folder.parent], shipped=False).infos() == []
