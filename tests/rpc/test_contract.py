"""The generated code is what the contract says."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_generated_code_is_current(tmp_path):
    folder = Path("webrtc_avatar/rpc")
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", "-I", "."),
            *(f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")),
            str(folder / "optimized_lipsyncsrv.proto"),
        ],
        cwd=ROOT,
        check=True,
    )
    made = sorted(path for path in (tmp_path / folder).iterdir() if path.is_file())
    assert len(made) == 3
    for path in made:
        assert path.read_text() == (ROOT / folder / path.name).read_text(), path.name
