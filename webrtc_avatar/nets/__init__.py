"""One file a network; their weights live in `models/`."""
