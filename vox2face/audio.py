"""Read sound: `decode`, under the name that the documentation gives it."""

from __future__ import annotations

from vox2face.media.audio import Audio, decode

__all__ = ["Audio", "decode"]
