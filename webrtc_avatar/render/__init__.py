"""A sound file and an avatar become a film: decode, engine, drawing and encoding at the same time, frame by frame."""
