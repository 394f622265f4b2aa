"""`python -m webrtc_avatar`: the same as the command `webrtc-avatar`."""

from webrtc_avatar.cli import app

if __name__ == "__main__":
    app(prog_name="webrtc-avatar")
