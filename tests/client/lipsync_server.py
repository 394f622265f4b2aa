"""The command `engine` in a process of its own, which can be killed and started again on the same port."""

import os
import signal
import socket
import subprocess
import sys
import time


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class LipSyncServer:
    """A lip-sync service on this machine."""

    def __init__(self, **settings):
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._settings = {f"WEBRTC_AVATAR_{name.upper()}": str(value) for name, value in settings.items()}
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "webrtc_avatar", "engine", "--grpc-port", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1", **self._settings},
        )
        until = time.monotonic() + 60
        while True:
            assert self.process.poll() is None, "the server ended before it listened"
            assert time.monotonic() < until
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                time.sleep(0.05)

    def kill(self):
        """End it without a goodbye."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.kill()
