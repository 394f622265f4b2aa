import json
import shutil

import cv2
import numpy as np
import pytest

pytest.importorskip("scipy")

from tests.avatar.package_parts import IRIS
from webrtc_avatar.avatar.package import load_avatar
from webrtc_avatar.training import pack


@pytest.fixture
def renders(tmp_path, monkeypatch):
    """Renders as the scripts leave them, but for the passes that only the flow reads."""
    folder = tmp_path / "renders"
    shutil.copytree(IRIS / "eyes", folder / "eyes")
    shutil.copy(IRIS / "plate.png", folder / "plate_512.png")
    cv2.imwrite(str(folder / "plate.png"), cv2.imread(str(IRIS / "plate_1024.webp")))
    shutil.copy(IRIS / "matte.png", folder / "matte.png")
    shutil.copy(IRIS / "smile.png", folder / "smile.png")
    background = cv2.imread(str(IRIS / "background.png"))
    cv2.imwrite(str(folder / "background.png"), cv2.resize(background, (1024, 1024), interpolation=cv2.INTER_NEAREST))
    iris = load_avatar(IRIS)
    crops = [
        {"file": f"{index:02d}.png", "lid": c.lid, "gaze": c.gaze, "brow_raise": c.brow_raise, "squint": c.squint}
        for index, c in enumerate(iris.eyes)
    ]
    (folder / "eyes" / "eyes.json").write_text(json.dumps({"box_px": list(iris.eye_box), "crops": crops}))
    monkeypatch.setattr(pack, "fields", lambda _: dict(iris.flow))
    return folder


def test_a_packed_avatar_loads_and_is_the_one_that_was_rendered(renders, tmp_path):
    package = tmp_path / "iris"
    pack.pack(renders, package, name="iris", title="Iris", licence="CC0-1.0")
    for name in ("ear.onnx", "mouth.onnx"):
        (package / name).write_bytes(b"network")
    packed, shipped = load_avatar(package), load_avatar(IRIS)
    for name in ("plate", "fine", "background", "matte"):
        assert np.array_equal(getattr(packed, name), getattr(shipped, name))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(packed.eyes, shipped.eyes, strict=True))
    assert {name: field.tobytes() for name, field in packed.flow.items()} == {
        name: field.tobytes() for name, field in shipped.flow.items()
    }
    assert (package / "avatar.toml").read_text() == (IRIS / "avatar.toml").read_text()


def test_a_missing_render_is_named_with_the_script_that_makes_it(renders, tmp_path):
    (renders / "matte.png").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"matte\.png is missing or no image; render it with .*render_plates\.py"
    ):
        pack.pack(renders, tmp_path / "iris", name="iris", title="Iris", licence="CC0-1.0")
