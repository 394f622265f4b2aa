"""What surrounds the head: lights, camera and background."""

import bpy
import materials
from mathutils import Vector


def furnish(scene, *, eye_level: float) -> None:
    """Add lights, camera and background to a scene; `eye_level` is the height of the eyes, in units."""
    _light(scene, eye_level)
    _place_camera(scene, eye_level)
    _paint_background(scene)


def _light(scene, eye_level: float) -> None:
    level = eye_level - 0.38
    for name, position, size, watts, colour in (
        ("key", (-6.5, -9, level + 6), 4, 1250, (1, 0.94, 0.87)),
        ("fill", (8, -8, level + 1.5), 7, 210, (0.86, 0.92, 1)),
        ("rim_right", (5.5, 6.5, level + 5), 3.5, 1150, (1, 0.93, 0.86)),
        ("rim_left", (-6, 6, level + 3), 3, 520, (0.80, 0.90, 1)),
        ("under", (0, -8, level - 5), 5, 210, (1, 0.9, 0.85)),
    ):
        light = bpy.data.lights.new(name, "AREA")
        light.size, light.energy, light.color = size, watts, colour
        _aim(scene, bpy.data.objects.new(name, light), position, (0, -1, level + 0.2))


def _place_camera(scene, eye_level: float) -> None:
    level = eye_level - 0.24
    camera = bpy.data.cameras.new("camera")
    camera.lens, camera.sensor_width = 85, 36
    scene.camera = _aim(scene, bpy.data.objects.new("camera", camera), (0, -8.6, level + 0.10), (0, -0.3, level))


def _aim(scene, made, position, target):
    scene.collection.objects.link(made)
    made.location = position
    made.rotation_euler = (Vector(target) - Vector(position)).to_track_quat("-Z", "Y").to_euler()
    return made


def _paint_background(scene) -> None:
    """A soft teal glow for the camera; an even grey-blue for everything that the sky lights."""
    world = bpy.data.worlds.new("world")
    scene.world = world
    world.use_nodes = True
    tree = world.node_tree
    ambient = tree.nodes["Background"]
    ambient.inputs["Color"].default_value, ambient.inputs["Strength"].default_value = (0.55, 0.60, 0.66, 1), 0.22

    mapping = materials.add_node(tree, "ShaderNodeMapping")
    mapping.inputs["Location"].default_value = (-0.55, -0.62, 0)
    mapping.inputs["Scale"].default_value = (1.1, 1.1, 0)
    gradient = materials.add_node(tree, "ShaderNodeTexGradient", gradient_type="SPHERICAL")
    ramp = materials.add_node(tree, "ShaderNodeValToRGB")
    ramp.color_ramp.interpolation = "EASE"
    dark, bright = ramp.color_ramp.elements
    dark.color, bright.color, bright.position = (0.045, 0.075, 0.088, 1), (0.30, 0.38, 0.38, 1), 0.85
    backdrop = materials.add_node(tree, "ShaderNodeBackground", Strength=1.0)
    mixed = materials.add_node(tree, "ShaderNodeMixShader")
    for source, target in (
        (materials.add_node(tree, "ShaderNodeTexCoord").outputs["Window"], mapping.inputs["Vector"]),
        (mapping.outputs[0], gradient.inputs["Vector"]),
        (gradient.outputs["Fac"], ramp.inputs[0]),
        (ramp.outputs[0], backdrop.inputs["Color"]),
        (materials.add_node(tree, "ShaderNodeLightPath").outputs["Is Camera Ray"], mixed.inputs[0]),
        (ambient.outputs[0], mixed.inputs[1]),
        (backdrop.outputs[0], mixed.inputs[2]),
        (mixed.outputs[0], tree.nodes["World Output"].inputs[0]),
    ):
        tree.links.new(source, target)
