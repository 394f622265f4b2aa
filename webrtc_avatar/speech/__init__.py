"""Text to speech: the voices, the queue in front of them, and what sessions and callers ask."""
