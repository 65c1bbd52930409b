"""The version of vox2face, which everything written down states."""

from __future__ import annotations

__version__ = "0.2.0"
