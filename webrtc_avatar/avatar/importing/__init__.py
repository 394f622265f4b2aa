"""Makes avatar packages of what people bring: a format each file, and all of it distrusted."""

from webrtc_avatar.avatar.importing.command import Imported, ImportOptions, import_avatar

__all__ = ["ImportOptions", "Imported", "import_avatar"]
