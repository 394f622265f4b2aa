"""A real-time avatar server: sound in, a lip-synced face out, in step, over WebRTC."""

__version__ = "0.1.0"
