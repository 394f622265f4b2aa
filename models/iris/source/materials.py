"""Blender materials of the head: skin, mouth, eyes, hair and sweater, from procedural nodes and MPFB2's eyelid mask."""

import os

import bpy


class Shader:
    """A new material's node tree with short calls for the nodes used here."""

    def __init__(self, name: str):
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self.tree = self.material.node_tree
        self.principled = self.tree.nodes["Principled BSDF"]
        self.output = self.tree.nodes["Material Output"]

    def node(self, kind: str, **values):
        """Add a node; a value names an input if there is one, else an attribute."""
        return add_node(self.tree, kind, **values)

    def link(self, source, target) -> None:
        """Connect an output socket to an input socket."""
        self.tree.links.new(source, target)

    def set(self, **inputs) -> None:
        """Set inputs of the principled shader, `_` for a space."""
        for name, value in inputs.items():
            self.principled.inputs[name.replace("_", " ")].default_value = value

    def attribute(self, name: str):
        """Return a vertex attribute's value."""
        return self.node("ShaderNodeAttribute", attribute_name=name).outputs["Fac"]

    def texture(self, kind: str, vector, **values):
        """Add a texture node that reads `vector`."""
        node = self.node(f"ShaderNodeTex{kind}", **values)
        self.link(vector, node.inputs["Vector"])
        return node

    def math(self, operation: str, first, second, *, clamp: bool = False):
        """Return the result of a math node on sockets or numbers; `second` may be None."""
        node = self.node("ShaderNodeMath", operation=operation, use_clamp=clamp)
        self._feed(first, node.inputs[0])
        if second is not None:
            self._feed(second, node.inputs[1])
        return node.outputs[0]

    def mix(self, first, second, factor, *, blend: str = "MIX"):
        """Return a mix of two colours, sockets or constants."""
        node = self.node("ShaderNodeMix", data_type="RGBA", blend_type=blend)
        for value, index in ((factor, 0), (first, 6), (second, 7)):
            self._feed(value, node.inputs[index])
        return node.outputs[2]

    def map_range(self, value, source=(0.0, 1.0), target=(0.0, 1.0)):
        """Return `value` taken from one range to another, limited to it."""
        node = self.node("ShaderNodeMapRange")
        self.link(value, node.inputs[0])
        for index, number in enumerate((*source, *target), start=1):
            node.inputs[index].default_value = number
        return node.outputs[0]

    def bump(self, height, strength: float, distance: float) -> None:
        """Roughen the surface by a height."""
        node = self.node("ShaderNodeBump", Strength=strength, Distance=distance)
        self.link(height, node.inputs["Height"])
        self.link(node.outputs[0], self.principled.inputs["Normal"])

    def _feed(self, value, socket) -> None:
        if isinstance(value, bpy.types.NodeSocket):
            self.link(value, socket)
        else:
            socket.default_value = value


def add_node(tree, kind: str, **values):
    """Add a node to a tree; a value names an input if there is one, else an attribute."""
    node = tree.nodes.new(kind)
    for name, value in values.items():
        if name in node.inputs:
            node.inputs[name].default_value = value
        else:
            setattr(node, name, value)
    return node


def skin(data_dir: str):
    """Mottled subsurface skin; reads the vertex attributes lips, inmouth, blush and scalp (0..1)."""
    shader = Shader("skin")
    uv = shader.node("ShaderNodeTexCoord").outputs["UV"]
    fine = shader.texture("Noise", uv, Scale=60.0, Detail=6.0, Roughness=0.6).outputs["Fac"]
    blush, lips = shader.attribute("blush"), shader.attribute("lips")

    colour = shader.mix((0.62, 0.325, 0.205, 1), (0.58, 0.25, 0.17, 1), shader.map_range(fine, (0.42, 0.68), (0, 0.32)))
    colour = shader.mix(colour, (0.62, 0.20, 0.14, 1), shader.math("MULTIPLY", blush, 0.55, clamp=True))

    cells = shader.texture("Voronoi", uv, Scale=230.0)
    spots = shader.map_range(cells.outputs["Distance"], (0.10, 0.28), (1, 0))
    freckles = shader.math("MULTIPLY", shader.math("MULTIPLY", spots, blush), cells.outputs["Color"])
    colour = shader.mix(colour, (0.36, 0.15, 0.085, 1), shader.math("MULTIPLY", freckles, 0.55, clamp=True))

    eyelids = shader.node("ShaderNodeTexImage")
    path = os.path.join(data_dir, "mpfb2/textures/mpfb_eyelids.jpg")
    eyelids.image = bpy.data.images.load(path, check_existing=True)
    eyelids.image.colorspace_settings.name = "Non-Color"
    colour = shader.mix(colour, (0.42, 0.19, 0.13, 1), shader.math("MULTIPLY", eyelids.outputs[0], 0.30, clamp=True))
    colour = shader.mix(colour, (0.47, 0.125, 0.105, 1), shader.math("MULTIPLY", lips, 0.85, clamp=True))
    colour = shader.mix(colour, (0.30, 0.06, 0.05, 1), shader.attribute("inmouth"))
    colour = shader.mix(colour, (0.035, 0.018, 0.010, 1), shader.attribute("scalp"))
    shader.link(colour, shader.principled.inputs["Base Color"])

    shader.set(Subsurface_Weight=0.75, Subsurface_Radius=(1, 0.32, 0.16), Subsurface_Scale=0.032)
    shader.set(Specular_IOR_Level=0.42)
    shader.principled.subsurface_method = "RANDOM_WALK"
    roughness = shader.node("ShaderNodeMix", data_type="FLOAT")
    shader.link(lips, roughness.inputs[0])
    shader.link(shader.map_range(fine, target=(0.42, 0.58)), roughness.inputs[2])
    roughness.inputs[3].default_value = 0.30
    shader.link(roughness.outputs[0], shader.principled.inputs["Roughness"])

    pores = shader.texture("Voronoi", uv, Scale=900.0).outputs["Distance"]
    grain = shader.texture("Noise", uv, Scale=400.0, Detail=3.0).outputs["Fac"]
    shader.bump(shader.math("ADD", pores, grain), 0.22, 0.012)
    return shader.material


def _wet(name, colour, roughness, subsurface, *, radius=(1, 0.4, 0.25), coat=0.0, glow=None):
    """A shiny mouth part; `glow` is (colour, strength) of a faint emission so that it still reads in shade."""
    shader = Shader(name)
    shader.set(Base_Color=(*colour, 1), Roughness=roughness, Specular_IOR_Level=0.5)
    shader.set(Subsurface_Weight=subsurface, Subsurface_Radius=radius, Subsurface_Scale=0.03)
    shader.set(Coat_Weight=coat, Coat_Roughness=0.08)
    if glow:
        shader.set(Emission_Color=(*glow[0], 1), Emission_Strength=glow[1])
    return shader.material


def teeth():
    """Enamel that still reads in the mouth's shade."""
    glow = ((1.0, 0.93, 0.82), 0.085)
    return _wet("teeth", (0.98, 0.945, 0.875), 0.22, 0.35, radius=(1, 0.85, 0.6), glow=glow)


def gum():
    """Wet gums."""
    return _wet("gum", (0.50, 0.12, 0.11), 0.35, 0.6, coat=0.3)


def tongue():
    """A wet tongue that still reads in the mouth's shade."""
    return _wet("tongue", (0.62, 0.20, 0.185), 0.42, 0.6, coat=0.2, glow=((0.62, 0.17, 0.15), 0.11))


def sweater():
    """Ribbed dark wool."""
    shader = Shader("sweater")
    shader.set(Roughness=0.85, Sheen_Weight=0.35, Specular_IOR_Level=0.15)
    position = shader.node("ShaderNodeTexCoord").outputs["Object"]
    bands = {"wave_type": "BANDS", "bands_direction": "X"}
    ribs = shader.texture("Wave", position, Scale=16.0, Distortion=0.6, **bands).outputs["Fac"]
    wool = shader.texture("Noise", position, Scale=45.0, Detail=4.0).outputs["Fac"]
    colour = shader.mix((0.030, 0.075, 0.105, 1), (0.050, 0.115, 0.155, 1), wool)
    shader.link(colour, shader.principled.inputs["Base Color"])
    shader.bump(shader.math("ADD", ribs, wool), 0.35, 0.02)
    return shader.material


def _strands(name, melanin, redness, roughness, variation):
    shader = Shader(name)
    shader.tree.nodes.remove(shader.principled)
    hair = shader.node("ShaderNodeBsdfHairPrincipled")
    hair.parametrization = "MELANIN"
    for socket, value in (
        ("Melanin", melanin),
        ("Melanin Redness", redness),
        ("Roughness", roughness),
        ("Radial Roughness", 0.4),
        ("Random Color", variation),
    ):
        hair.inputs[socket].default_value = value
    shader.link(hair.outputs[0], shader.output.inputs[0])
    return shader.material


def hair():
    """Dark brown head hair."""
    return _strands("hair", 0.82, 0.75, 0.32, 0.25)


def brow():
    """Brow hairs, lighter than the head's."""
    return _strands("brow", 0.66, 0.8, 0.5, 0.25)


def lash():
    """Black lashes."""
    return _strands("lash", 1.0, 0.0, 0.6, 0.0)


def eye():
    """White and iris, drawn by the distance from the eyeball's own z axis (the eyeball has radius 1)."""
    shader = Shader("eye")
    axes = shader.node("ShaderNodeSeparateXYZ")
    shader.link(shader.node("ShaderNodeTexCoord").outputs["Object"], axes.inputs[0])
    x, y = axes.outputs[0], axes.outputs[1]
    squares = shader.math("ADD", shader.math("MULTIPLY", x, x), shader.math("MULTIPLY", y, y))
    radius, angle = shader.math("SQRT", squares, None), shader.math("ARCTAN2", y, x)

    polar = shader.node("ShaderNodeCombineXYZ")
    shader.link(angle, polar.inputs[0])
    shader.link(radius, polar.inputs[1])
    stretched = shader.node("ShaderNodeMapping")
    stretched.inputs["Scale"].default_value = (7, 1.2, 1)
    shader.link(polar.outputs[0], stretched.inputs["Vector"])
    fibres = shader.texture("Noise", stretched.outputs[0], Scale=3.0, Detail=5.0).outputs["Fac"]

    ramp = shader.node("ShaderNodeValToRGB")
    shader.link(radius, ramp.inputs[0])
    stops = ramp.color_ramp.elements
    stops[0].position, stops[0].color = 0, (0.004, 0.003, 0.003, 1)
    stops[1].position, stops[1].color = 1, (0.80, 0.72, 0.68, 1)
    for position, colour in (
        (0.185, (0.004, 0.003, 0.003, 1)),
        (0.215, (0.115, 0.045, 0.014, 1)),
        (0.33, (0.20, 0.085, 0.028, 1)),
        (0.44, (0.105, 0.042, 0.014, 1)),
        (0.485, (0.02, 0.010, 0.006, 1)),
        (0.54, (0.80, 0.76, 0.73, 1)),
    ):
        stops.new(position).color = colour
    contrast = shader.map_range(fibres, (0.35, 0.65), (0.45, 1.8))
    inside_iris = shader.math("LESS_THAN", radius, 0.5)
    colour = shader.mix(ramp.outputs[0], contrast, inside_iris, blend="MULTIPLY")
    shader.link(colour, shader.principled.inputs["Base Color"])
    shader.set(Roughness=0.35, Subsurface_Weight=0.15, Subsurface_Scale=0.02, Subsurface_Radius=(1, 0.5, 0.4))
    return shader.material


def cornea():
    """A clear shell that only reflects."""
    shader = Shader("cornea")
    shader.tree.nodes.remove(shader.principled)
    clear, gloss = shader.node("ShaderNodeBsdfTransparent"), shader.node("ShaderNodeBsdfGlossy")
    gloss.inputs["Roughness"].default_value = 0.03
    mixed = shader.node("ShaderNodeMixShader")
    for source, index in ((shader.node("ShaderNodeFresnel", IOR=1.38), 0), (clear, 1), (gloss, 2)):
        shader.link(source.outputs[0], mixed.inputs[index])
    shader.link(mixed.outputs[0], shader.output.inputs[0])
    return shader.material
