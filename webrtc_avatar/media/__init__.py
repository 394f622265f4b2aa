"""Media in and out: the microphone's packets become chunks, ticks become packets that are encoded once for all viewers."""
