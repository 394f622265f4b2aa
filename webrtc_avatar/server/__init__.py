"""The HTTP server: signalling, viewers, pages, monitoring; wires all rooms together."""
