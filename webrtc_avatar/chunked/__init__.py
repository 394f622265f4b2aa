"""Chunked sessions: sound is fed in pieces over HTTP, a face speaks it, and the film is watched as HLS while it grows."""
