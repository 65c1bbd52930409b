"""The facts about models as frozen dataclasses: tensors, published files, zoo entries."""

from __future__ import annotations

import importlib
import importlib.util
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

# What a network may end in -> how to say so
OUTPUT_ACTIVATIONS = {
    "linear": "without an activation",
    "relu": "in a ReLU",
    "sigmoid": "in a sigmoid",
}


@dataclass(frozen=True)
class TensorSpec:
    """One input or output: `shape` mixes sizes and axis names, as in `("batch", 3, 224, 224)`.

    `meaning` states unit, value range and, for pictures, the colour order.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    layout: str
    meaning: str

    def __str__(self) -> str:
        """Describe the tensor in one line: "input: float32 (batch, 3, 224, 224), ..."."""
        shape = ", ".join(str(n) for n in self.shape)
        return f"{self.name}: {self.dtype} ({shape}), {self.meaning}"


@dataclass(frozen=True)
class Licence:
    """The terms a weight file comes under; `identifier` is a Hugging Face licence id.

    `redistributable` says whether the terms let everybody pass converted weights on.
    """

    identifier: str
    name: str
    url: str
    notice: str
    redistributable: bool = False


@dataclass(frozen=True, kw_only=True)
class Source:
    """A published file of weights or class names: where it is, how to recognise it, whose it is.

    `sha256` and `size` (bytes) are None where no publisher states them. `cite` says where
    these facts were read. `kind` is what `files.identify` says of the file; `option` is the
    command's option that takes a copy of one's own. `repository` is the publisher's address,
    `hub_id` its repository on the Hugging Face hub if it has one, `paper` the paper to cite, in
    BibTeX. `asset` is the path below `vox2face/assets` of a file that comes with vox2face;
    `finished` says that it is the folder of a bundle, used as it is. `parts` are further files that
    belong to it, each with its sha256. `package` is (package, file) of a file that comes with a
    Python package. A file that no address can fetch, because its authors publish it where a person
    has to look at it, has no `urls`.
    """

    key: str
    urls: tuple[str, ...]
    sha256: str | None = None
    size: int | None = None
    format: str
    licence: Licence
    cite: str
    kind: str = "HDF5"
    option: str = "--weights"
    repository: str = ""
    hub_id: str | None = None
    paper: str = ""
    asset: str = ""
    finished: bool = False
    parts: tuple[tuple[str, str], ...] = ()
    package: tuple[str, str] = ("", "")

    @property
    def embedded(self) -> Path | None:
        """The file or finished bundle that comes with vox2face, if one does."""
        return Path(__file__).parents[1] / "assets" / self.asset if self.asset else None

    @property
    def installed(self) -> Path | None:
        """The file that comes with another package, if that is installed; it is not imported."""
        name, file = self.package
        spec = importlib.util.find_spec(name) if name else None
        folders = (spec.submodule_search_locations if spec else None) or ()
        return next((path for f in folders if (path := Path(f) / file).is_file()), None)

    @property
    def filename(self) -> str:
        """The file's published name."""
        return self.urls[0].rsplit("/", 1)[-1] if self.urls else "the checkpoint"


@dataclass(frozen=True)
class Space:
    """Whose embeddings a network gives or takes; a field is "" where nobody knows.

    `encoder` is the registry name of the encoder that made them, `preset` its preprocessing, and
    `digest` the sha256 of its float32 tensors up to the embedding, whatever file they came from.
    """

    encoder: str = ""
    preset: str = ""
    digest: str = ""

    def __str__(self) -> str:
        """Describe the space: "vggface.serengil with the preset deepface, weights 12345678"."""
        name = self.encoder or "an unknown encoder"
        preset = f" with the preset {self.preset}" if self.preset else ""
        weights = f", weights {self.digest[:8]}" if self.digest else ""
        return f"{name}{preset}{weights}"

    def fits(self, other: Space) -> bool:
        """Whether nothing that is known of both differs; an unknown encoder fits every other."""
        if not (self.encoder and other.encoder):
            return True
        pairs = zip(astuple(self), astuple(other), strict=True)
        return all(one == two for one, two in pairs if one and two)


@dataclass(frozen=True)
class Architecture:
    """A network, for all weights of it.

    `build` returns the torch module with fresh weights. `infer_config` tells from the shapes of
    tensors, {name: shape}, what `build` was given; None for a network of one size.
    """

    build: Callable[..., Any]
    infer_config: Callable[[Mapping[str, Sequence[int]]], dict[str, Any]] | None = None


@dataclass(frozen=True)
class Entry:
    """One model of the zoo, named `architecture.tag`.

    `architecture` is an `Architecture`, or the name of the module of `vox2face.zoo.networks` that
    has one, so that listing entries imports no torch; `config` is what its `build` is given.
    `weight_map` is a `WeightMap`, or the name of the module of `vox2face.converters.maps` that has
    it as `TABLE`. `any_size` says that networks of the entry may come in any width. `labels` is the
    published list of the names of the classes, in the order of the scores. `notop` is the published
    file without the layer `classifier`, where there is such a file. `output_activation` is what the
    network ends in, "linear", "relu" or "sigmoid", where weights of the entry may differ in that
    and shapes do not tell; `build` then takes it. `space` is whose embeddings the network gives or
    takes, if not its own. `flops` counts one item's output, a multiplication and an addition as
    two; `measured` bounds the differences seen at full size, as a part of the largest activation.
    `command` converts the published file, or with the word CHECKPOINT in it a file of one's own;
    it is "" where no weights are published.
    `note` is what people have to know about these weights beside that. Values agree with the
    original when the largest difference is at most `atol + rtol * largest original value`. `tags`
    are the model's own on the Hugging Face hub.
    """

    name: str
    kind: str
    summary: str
    architecture: str | Architecture
    weight_map: Any
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    preprocess: str
    source: Source
    command: str
    config: Mapping[str, Any] = field(default_factory=dict, hash=False)
    any_size: bool = False
    output_activation: str = ""
    space: Space = Space()
    notop: Source | None = None
    classifier: str = ""
    aliases: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    parameters: int = 0
    flops: int = 0
    measured: float = 0.0
    note: str = ""
    atol: float = 0.0
    rtol: float = 1e-4
    labels: Source | None = None

    @property
    def width(self) -> int:
        """The length of the embedding."""
        spec = self.outputs[0] if self.outputs[0].name == "embedding" else self.input
        return int(spec.shape[-1])

    @property
    def variant(self) -> dict[str, str]:
        """What `build` takes beside the facts that shapes tell."""
        return {"output_activation": self.output_activation} if self.output_activation else {}

    @property
    def own_space(self) -> Space:
        """`space`, or for a face encoder the one that it spans itself."""
        return Space(self.name, self.preprocess) if self.kind == "face-encoder" else self.space

    def offered(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[TensorSpec, ...]:
        """The outputs that weights of these shapes have: without a classifier no scores."""
        return self.outputs if f"{self.classifier}.weight" in shapes else self.plain_outputs

    @property
    def plain_outputs(self) -> tuple[TensorSpec, ...]:
        """What the network always computes: everything but class scores."""
        return tuple(spec for spec in self.outputs if spec.name != "logits")

    def converting(self, file: object) -> str:
        """Return the command that converts a weight file of one's own."""
        path = shlex.quote(str(file))
        if "CHECKPOINT" in self.command:
            return self.command.replace("CHECKPOINT", path)
        return f"{self.command or f'vox2face convert {self.name}'} --weights {path}"

    @property
    def size(self) -> int:
        """The height and width of the pictures the network takes."""
        return int(self.input.shape[-1])
