"""Avatar packages: what lies on disk, what is loaded, and how a frame is drawn from it."""
