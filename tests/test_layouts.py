"""What people hold: other names and orders of the same tensors give the same bundle."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from golden import NAMES
from safetensors.torch import load_file
from test_speech_to_face import unwrapped
from twins import checkpoint

from vox2face import bundle as bundles
from vox2face.converters import assemble
from vox2face.converters.chain import Feedback, convert
from vox2face.converters.read import open_weights
from vox2face.errors import MappingError
from vox2face.spec import Entry
from vox2face.zoo import registry

Twin = Callable[[str], Entry]
TwinFile = Callable[..., Path]
State = dict[str, torch.Tensor]
FREE = ("ve_conv.speech-to-face", "ast.speech-to-face", "face_decoder.speech-to-face")
PREFIXES = ("module.", "_orig_mod.", "model.", "_orig_mod.module.", "model.module._orig_mod.")


class Converter:
    """Converts files with the narrow twin of an entry and keeps what is said."""

    def __init__(self, entry: Entry, folder: Path) -> None:
        self.entry, self.folder, self.said = entry, folder, list[str]()

    def bundle(self, source: Path | State) -> Path:
        """Convert a weight file or a state dict, which is saved first; return the bundle."""
        out = self.folder / f"out{len(list(self.folder.iterdir()))}"
        if isinstance(source, dict):
            torch.save(source, file := out.with_suffix(".pt"))
            source = file
        self.said.clear()
        feedback = Feedback(say=self.said.append)
        return convert(self.entry, source, out, onnx=False, feedback=feedback).path

    def weights(self, source: Path | State) -> bytes:
        return (self.bundle(source) / bundles.WEIGHTS).read_bytes()

    def told(self, words: str) -> bool:
        return any(words in line for line in self.said)


@pytest.fixture
def converter(twin: Twin, tmp_path: Path) -> Callable[[str], Converter]:
    folder = tmp_path / "converted"
    folder.mkdir()
    return lambda name: Converter(twin(name), folder)


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("name", [*FREE, "vggface.serengil"])
def test_what_wrappers_put_in_front_of_all_names_is_taken_off_and_told(
    name: str, converter: Callable[[str], Converter], twin_file: TwinFile
) -> None:
    made = converter(name)
    if name == "vggface.serengil":
        state = load_file(made.bundle(twin_file(name)) / bundles.WEIGHTS)
    else:
        state = checkpoint(name)
    plain = made.weights(state)
    assert not made.told("taken off")
    for prefix in PREFIXES:
        assert made.weights({f"{prefix}{key}": value for key, value in state.items()}) == plain
        assert made.told(f"begin with {prefix}: taken off.")


def test_names_behind_a_prefix_tell_what_an_ast_ends_in(
    converter: Callable[[str], Converter],
) -> None:
    made, state = converter("ast.speech-to-face"), checkpoint("ast.speech-to-face")
    for names, end in ((state, "relu"), (unwrapped(state), "linear")):
        path = made.bundle({f"_orig_mod.module.{key}": value for key, value in names.items()})
        assert bundles.read(path).entry.output_activation == end


def test_a_prefix_of_some_names_only_stays(converter: Callable[[str], Converter]) -> None:
    made, state = converter("ve_conv.speech-to-face"), checkpoint("ve_conv.speech-to-face")
    first = next(iter(state))
    mixed = {key if key == first else f"module.{key}": value for key, value in state.items()}
    with pytest.raises(MappingError, match="is missing"):
        made.bundle(mixed)


def test_prefixed_files_of_another_network_are_named_with_their_command(tmp_path: Path) -> None:
    shapes = {f"module.{key}": shape for key, shape in NAMES["ve_conv"].items()}
    with (
        open_weights(declared(tmp_path, shapes)) as file,
        pytest.raises(MappingError, match=r"convert speech-to-face .* --model ve_conv"),
    ):
        assemble.paired(registry.entry("vggface.rcmalli"), file)


def declared(folder: Path, shapes: dict[str, Any]) -> Path:
    """Write a safetensors file that declares full-size tensors, whose values are a hole."""
    content, end = {}, 0
    for key, shape in shapes.items():
        if "num_batches" not in key:
            start, end = end, end + 4 * prod(shape)
            content[key] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    head = json.dumps(content).encode()
    path = folder / "declared.safetensors"
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        file.truncate(8 + len(head) + end)
    return path
