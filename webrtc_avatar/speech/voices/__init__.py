"""The voices in the box; others come by the entry point group `webrtc_avatar.voices`."""
