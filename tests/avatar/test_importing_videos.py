"""Video packages become packages of ours, or a clear error and nothing on disk."""

import json
import struct

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from tests.avatar import footage_parts as parts
from tests.nets.seeded import encoder_arrays, generator_arrays
from webrtc_avatar.avatar.footage import cut_face, read_features
from webrtc_avatar.avatar.importing import ImportOptions, import_avatar
from webrtc_avatar.avatar.importing.networks import check_encoder, check_generator
from webrtc_avatar.avatar.importing.rectangles import read_boxes
from webrtc_avatar.avatar.package import load_avatar
from webrtc_avatar.errors import CannotImport, InvalidAvatar


@pytest.fixture
def source(tmp_path):
    return parts.make_video_package(tmp_path / "Sanders")


@pytest.fixture
def into(tmp_path):
    return tmp_path / "avatars"


def refused(source, into, match, **options):
    """Import, expect an error, and see that nothing was left behind."""
    with pytest.raises(InvalidAvatar, match=match) as caught:
        import_avatar(source, ImportOptions(into, **options))
    assert not into.exists()
    assert len(caught.value.message) < 600


def test_a_video_package_becomes_an_avatar_with_the_networks_that_it_brings(source, into):
    imported = import_avatar(source, ImportOptions(into))
    avatar = load_avatar(imported.folder)
    assert imported.warnings == []
    assert (avatar.name, avatar.title, avatar.frame_count) == ("sanders", "Painted Face", parts.COUNT)
    assert (avatar.model.kind, avatar.model.size) == ("onnx_generator", 328)
    assert avatar.model.files["generator"].read_bytes() == (source / "models" / "generator.onnx").read_bytes()
    assert avatar.boxes.tolist() == [list(parts.box(number)) for number in range(parts.COUNT)]
    assert np.array_equal(read_features(avatar), parts.features())
    for number in range(parts.COUNT):
        frame = parts.picture(number)
        assert cv2.absdiff(avatar.frame(number), frame).mean() < 2.5
        expected = cut_face(frame, avatar.boxes[number], 328)
        assert cv2.absdiff(np.asarray(avatar.faces[number]), expected).mean() < 2.5


def test_checkpoints_of_the_package_go_before_its_onnx_files(source, into):
    (source / "checkpoint").mkdir()
    for name, arrays in (("model_best.pth", generator_arrays(328)), ("audio_encoder.pth", encoder_arrays())):
        state = {key: torch.from_numpy(value) for key, value in arrays.items()}
        torch.save({"model_state_dict": state} if "best" in name else state, source / "checkpoint" / name)
    avatar = load_avatar(import_avatar(source, ImportOptions(into)).folder)
    assert avatar.model.kind == "synctalk2d"


def test_faces_are_cut_from_the_frames_where_there_is_no_video_of_crops(source, into):
    for name in ("crops_328_video.mp4", "rois_320_video.mp4", "package_info.json"):
        (source / name).unlink()
    avatar = load_avatar(import_avatar(source, ImportOptions(into)).folder)
    assert avatar.title == "Sanders"
    expected = cut_face(parts.picture(2), avatar.boxes[2], 328)
    assert cv2.absdiff(np.asarray(avatar.faces[2]), expected).mean() < 2.5


def test_features_may_be_an_npy_file_and_one_row_short(source, into):
    (source / "aud_ave.bin").unlink()
    np.save(source / "aud_ave.npy", parts.features(5).astype(np.float64))
    imported = import_avatar(source, ImportOptions(into))
    assert "5 rows for 6 frames" in imported.warnings[0]
    assert np.array_equal(read_features(load_avatar(imported.folder)), parts.features(5))


def test_crops_that_show_something_else_are_noted(source, into):
    crops = [np.full((328, 328, 3), 200, np.uint8)] * parts.COUNT
    parts.write_video(source / "crops_328_video.mp4", crops)
    imported = import_avatar(source, ImportOptions(into))
    assert "shows something else than the rectangles" in imported.warnings[0]


BOX = [10, 20, 80, 90]


@pytest.mark.parametrize(
    "content",
    [
        {str(number): {"rect": BOX, "original_path": "x.jpg"} for number in range(3)},
        {str(number): BOX for number in range(3)},
        [BOX] * 3,
        [{"x": 10, "y": 20, "width": 70, "height": 70}] * 3,
        [{"x": 10, "y": 20, "w": 70, "h": 70}] * 3,
        [{"x1": 10, "y1": 20, "x2": 80, "y2": 90}] * 3,
        [{"x0": 10, "y0": 20, "x1": 80, "y1": 90}] * 3,
        [{"xmin": 10, "ymin": 20, "xmax": 80, "ymax": 90}] * 3,
        [{"left": 10, "top": 20, "right": 80.0, "bottom": 90.9}] * 3,
        {"rectangles": [{"bounds": BOX}] * 3},
        {"frames": {"0": {"bbox": BOX}, "1": {"box": BOX}, "2": {"crop": BOX}}},
    ],
)
def test_rectangles_are_read_however_they_are_written(content):
    assert read_boxes(content, count=3, frame=(160, 120), where="x").tolist() == [BOX] * 3


def test_a_rectangle_that_leaves_the_frame_to_the_right_or_below_is_cut():
    assert read_boxes([[100, 60, 200, 160]], count=1, frame=(160, 120), where="x").tolist() == [[100, 60, 160, 120]]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([BOX] * 2, "holds 2 rectangles for 3 frames"),
        ([], "holds 0 rectangles"),
        ({"0": BOX, "1": BOX}, "of 2 frames for 3 frames of footage, and none of frame 2"),
        ({"0": BOX, "1": BOX, "2": BOX, "3": BOX}, "of 4 frames for 3"),
        ({"1": BOX, "2": BOX, "3": BOX}, "none of frame 0"),
        ("text", "holds a str"),
        (None, "holds a NoneType"),
        ([BOX, BOX, [1, 2, 3]], "frame 2 has no rectangle that is understood"),
        ([BOX, BOX, {"rect": {"rect": {"width": 3}}}], "frame 2 has no rectangle"),
        ([BOX, BOX, [0, 0, 0, 50]], "the rectangle of frame 2 is x 0 to 0"),
        ([BOX, BOX, [50, 50, 20, 20]], "the rectangle of frame 2 is x 50 to 20"),
        ([BOX, BOX, [-1, 0, 50, 50]], r"frame 2 begins at \(-1, 0\)"),
        ([BOX, BOX, [500, 0, 550, 50]], "the rectangle of frame 2 is x 500"),
        ([BOX, BOX, [0, 0, float("nan"), 50]], "'nan' is no number of pixels"),
        ([BOX, BOX, [0, 0, 1e300, 50]], "is no number of pixels"),
        ([BOX, BOX, ["0", 0, 50, 50]], "is no number of pixels"),
        ([BOX, BOX, [True, 0, 50, 50]], "is no number of pixels"),
    ],
)
def test_rectangles_that_are_none_are_refused(content, match):
    with pytest.raises(CannotImport, match=match):
        read_boxes(content, count=3, frame=(160, 120), where="x")


def nested(depth):
    return '{"frames":' * depth + "[]" + "}" * depth


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("cache/crop_rectangles.json", nested(100_000), "crop_rectangles"),
        ("cache/crop_rectangles.json", nested(900), "crop_rectangles"),
        ("cache/crop_rectangles.json", "not json", "is not JSON"),
        ("package_info.json", "[" * 100_000, "is not JSON"),
        ("package_info.json", '{"frame_count": 7}', "tells of 7 frames as frame_count, full_body_video.mp4 has 6"),
        ("package_info.json", '{"videos": {"full_body": {"num_frames": 5}}}', "tells of 5 frames as num_frames"),
        ("aud_ave.bin", "x" * 2049, "expected whole rows of 512 float32"),
    ],
)
def test_files_of_text_that_lie_are_refused(source, into, name, text, match):
    (source / name).write_text(text)
    refused(source, into, match)


def cut_short(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_its_tail(path):
    """Keep the index, which names six pictures, and lose the pictures' data."""
    data = path.read_bytes()
    start, box = data.index(b"mdat") - 4, data.index(b"moov") - 4
    size = struct.unpack(">I", data[start : start + 4])[0]
    path.write_bytes(data[:start] + struct.pack(">I4s", size, b"mdat") + bytes(size - 8) + data[box:])


def other_file(path):
    """A list of videos, which FFmpeg would follow."""
    path.rename(path.with_name("other.mp4"))
    path.write_text("ffconcat version 1.0\nfile other.mp4\n")


def lost_its_end(path):
    """The index first, whole, and behind it not all of the pictures."""
    frames = [parts.picture(number) for number in range(6)]
    parts.write_video(path, frames, movflags="faststart")
    path.write_bytes(path.read_bytes()[:-400])


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (cut_short, "full_body_video.mp4"),
        (without_its_tail, "full_body_video.mp4 is damaged or cut short"),
        (lambda path: parts.write_video(path, [np.zeros((64, 5000, 3), np.uint8)]), "claims pictures of 5000x64"),
        (other_file, "is not a readable MP4 file"),
        (lost_its_end, "full_body_video.mp4 is damaged or cut short"),
        (lambda path: path.write_bytes(b""), "has 0 bytes"),
        (lambda path: path.write_bytes(b"\0" * 5000), "is not a readable MP4 file"),
        (lambda path: path.unlink(), "has no full_body_video.mp4"),
        (lambda path: parts.write_video(path, [parts.picture(n) for n in range(5)]), "have|has 5 pictures"),
        (lambda path: parts.write_video(path, [np.zeros((48, 48, 3), np.uint8)] * 6), "48x48 pixels, expected sides"),
    ],
)
def test_videos_that_cannot_be_trusted_are_refused(source, into, spoil, match):
    spoil(source / "full_body_video.mp4")
    refused(source, into, match)


@pytest.mark.parametrize("name", ["crops_328_video.mp4", "rois_320_video.mp4"])
def test_videos_of_other_lengths_are_refused(source, into, name):
    side = int(name.split("_")[1])
    parts.write_video(source / name, [np.zeros((side, side, 3), np.uint8)] * 4)
    refused(source, into, f"full_body_video.mp4 has 6 pictures, {name} has 4")


def test_crops_of_another_size_are_refused(source, into):
    parts.write_video(source / "crops_328_video.mp4", [np.zeros((320, 320, 3), np.uint8)] * 6)
    refused(source, into, "has pictures of 320x320, the network needs 328x328")


def test_links_that_lead_out_of_the_package_are_refused(source, into, tmp_path):
    for name in ("full_body_video.mp4", "models/generator.onnx", "cache/crop_rectangles.json"):
        outside = tmp_path / "outside"
        (source / name).rename(outside)
        (source / name).symlink_to(outside)
        refused(source, into, "is a link that leads out of the package")
        (source / name).unlink()
        outside.rename(source / name)


def test_a_package_without_networks_says_which_are_needed(source, into):
    (source / "models" / "audio_encoder.onnx").unlink()
    refused(source, into, r"found: generator\.onnx\. Name what is missing with --checkpoint and --audio-encoder")


def with_external_data(path):
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/hostname"
    path.write_bytes(model.SerializeToString())


def with_external_data_inside(path):
    model = onnx.load(path)
    secret = onnx.numpy_helper.from_array(np.zeros(1, np.float32), "secret")
    secret.data_location = TensorProto.EXTERNAL
    inner = helper.make_graph([helper.make_node("Constant", [], ["c"], value=secret)], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner))
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (with_external_data, "keeps 1 tensors in other files"),
        (with_external_data_inside, "keeps . tensors in other files, 'secret'"),
        (lambda path: path.write_bytes(b"no network"), "is not an ONNX file|cannot be run"),
        (lambda path: path.write_bytes(b""), "bytes|is not an ONNX file|cannot be run"),
        (lambda path: parts.write_generator(path, side=256), "takes pictures of 256 pixels"),
        (lambda path: parts.write_generator(path, outputs=2), r"gives float32 \(1, 2, 320, 320\)"),
        (lambda path: parts.write_generator(path, side=65535), "takes pictures of 65535 pixels"),
    ],
)
def test_networks_that_cannot_be_run_as_they_are_are_refused(source, into, spoil, match):
    spoil(source / "models" / "generator.onnx")
    refused(source, into, match)


def test_a_network_of_one_frame_at_a_time_is_taken(tmp_path):
    assert check_generator(parts.write_generator(tmp_path / "one.onnx", batch=1)) == 320
    assert check_generator(parts.write_generator(tmp_path / "small.onnx", side=160)) == 160
    check_encoder(parts.write_encoder(tmp_path / "encoder.onnx", batch=1))


def test_an_audio_encoder_of_another_kind_is_refused(source, into):
    parts.write_encoder(source / "models" / "audio_encoder.onnx", columns=1024)
    refused(source, into, r"gives \(1, 1024\), expected 512 numbers")


def test_a_checkpoint_and_an_onnx_file_do_not_go_together(source, into, tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "g.pth")
    refused(source, into, "both as ONNX", checkpoint=tmp_path / "g.pth")


def test_info_that_names_the_avatar_strangely_does_no_harm(source, into):
    (source / "package_info.json").write_text(json.dumps({"dataset_name": 'A "B"\n[x]\x7f\u202e' + "c" * 300}))
    avatar = load_avatar(import_avatar(source, ImportOptions(into)).folder)
    assert avatar.title.startswith('A "B"[x]')
    assert len(avatar.title) == 100
