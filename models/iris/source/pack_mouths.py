"""Packs rendered mouths as `mouths.mkv` and `mouth.json`, which `webrtc_avatar.training.mouth` reads.

    python models/iris/source/pack_mouths.py RENDERS/mouths models/iris/source

Mouths that were not rendered are left out.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from webrtc_avatar.training.mouth_data import FACTS_NAME, VIDEO_NAME, write_facts, write_video


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rendered", type=Path, help="folder of render_mouths.py")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    facts = json.loads((arguments.rendered / FACTS_NAME).read_text())
    facts["crops"] = [crop for crop in facts["crops"] if (arguments.rendered / crop["file"]).exists()]
    files = [crop["file"] for crop in facts["crops"]]
    facts["held_out"] = [name for name in facts["held_out"] if name in set(files)]
    arguments.output.mkdir(parents=True, exist_ok=True)
    write_video(np.stack([cv2.imread(str(arguments.rendered / name)) for name in files]), arguments.output / VIDEO_NAME)
    write_facts(facts, arguments.output / FACTS_NAME)
    print(f"{len(files)} mouths, {len(facts['held_out'])} held out")


if __name__ == "__main__":
    main()
