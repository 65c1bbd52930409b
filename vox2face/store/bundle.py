"""A bundle: the folder that holds one converted or trained model.

config.json        entry, preset, space, outputs, licence, source and file hashes, versions
model.safetensors  the weights, in the torch module's names and layout
model.onnx         optional: the same network for ONNX Runtime, in one file
parity.json        the proof against the original, tap by tap
README.md          a model card for people and for the Hugging Face hub

Once it is made, nothing is written into it.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vox2face.core.entry import Entry, Space, TensorSpec
from vox2face.core.errors import BundleError, UsageError
from vox2face.core.files import BUNDLE_FILES, atomic_file, bring_back, home, sha256, size_text
from vox2face.core.safetensors_header import shapes
from vox2face.core.version import __version__

if TYPE_CHECKING:
    from vox2face.core.parity import Report

Content = TypeVar("Content")
FORMAT = 1
CONFIG, WEIGHTS, ONNX = "config.json", "model.safetensors", "model.onnx"
PARITY, CARD = "parity.json", "README.md"
TRAINED = "PyTorch module"  # the format of the source of what was saved from memory
HASH = re.compile("[0-9a-f]{64}")
LARGEST = 4_000_000  # bytes of config.json or parity.json, which take some kilobytes


@dataclass(frozen=True)
class Bundle:
    """An existing bundle folder and what its config.json says.

    `borrowed` means that the folder is another program's cache, which lacks the proof.
    """

    path: Path
    config: dict[str, Any]
    borrowed: bool = False

    def __repr__(self) -> str:
        return f"Bundle({self.entry_name!r}, {str(self.path)!r})"

    @property
    def entry_name(self) -> str:
        """The registry name of the model."""
        return str(self.config["entry"])

    @property
    def preset(self) -> str:
        """The preprocessing the weights were made with."""
        return str(self.config["preset"])

    @property
    def model(self) -> Entry:
        """The facts about the model; `BundleError` if no package that is there brings it."""
        from vox2face.zoo import registry

        try:
            return registry.entry(self.entry_name)
        except UsageError:
            package = self.config.get("package")
            how = f"install the package {package}" if package else "install the package"
            raise BundleError(
                f"{self.path} is a bundle of {self.entry_name!r:.80}, a model that neither this "
                f"vox2face nor an installed package has: {how} that brings it, or register its "
                "Entry with vox2face.zoo.register."
            ) from None

    @cached_property
    def entry(self) -> Entry:
        """The facts about the model, as wide as its weights are, with what the network ends in."""
        from vox2face.zoo import registry

        model = self.model
        held = shapes(self.weights)
        try:
            return registry.sized(model, held, self.output_activation(model))
        except BundleError as error:
            raise BundleError(f"{self.weights}: {error}") from error

    def output_activation(self, model: Entry) -> str:
        """Return what the network ends in.

        Bundles of vox2face 0.1.0 do not say. No network had a sigmoid then, so that what was
        trained there has none; what was converted is as published.
        """
        recorded: str | None = self.config.get("output_activation")
        if recorded is not None:
            return recorded
        trained = self.config["source"].get("format") == TRAINED
        lacks = trained and model.output_activation == "sigmoid"
        return "linear" if lacks else model.output_activation

    @property
    def outdated_onnx(self) -> bool:
        """Whether the ONNX file is of vox2face 0.1.0 and lacks the sigmoid of the network."""
        return self.entry.output_activation == "sigmoid" and "output_activation" not in self.config

    @property
    def space(self) -> Space:
        """Whose embeddings the network gives or takes; bundles of vox2face 0.1.0 do not say."""
        recorded: dict[str, str] | None = self.config.get("space")
        if recorded is not None:
            return Space(**recorded)
        own, source = self.entry.own_space, self.config["source"]
        preset = self.preset if self.entry.kind == "face-decoder" else ""
        if source.get("format") == TRAINED:
            trained_on = source.get("training", {}).get("face_encoder", "")
            return Space(known_encoder(trained_on), preset)
        return replace(own, preset=preset or own.preset)

    @property
    def outputs(self) -> list[str]:
        """The names of what the network computes; "logits" is among them if it has classes."""
        return [str(spec["name"]) for spec in self.config["outputs"]]

    @property
    def weights(self) -> Path:
        """The safetensors file."""
        return self.path / WEIGHTS

    @property
    def onnx(self) -> Path:
        """The ONNX file, which need not exist."""
        return self.path / ONNX

    @property
    def has_onnx(self) -> bool:
        """Whether the folder holds an ONNX file that is recorded, as one of the bundle is."""
        return ONNX in self.config["files"] and self.onnx.is_file()

    def altered(self, names: Collection[str] | None = None) -> list[str]:
        """Return a line for each file that is missing or not what config.json recorded.

        `names` restricts this to some of the recorded files.
        """
        problems = []
        for name, facts in self.config["files"].items():
            if names is not None and name not in names:
                continue
            file = self.path / name
            if not file.is_file():
                problems.append(f"{name} is missing")
            elif file.stat().st_size != facts["size"]:
                problems.append(
                    f"{name} has {file.stat().st_size} bytes, recorded are {facts['size']}"
                )
            elif sha256(file) != facts["sha256"]:
                problems.append(f"{name} has changed since it was written (sha256 differs)")
        return problems

    def require_unaltered(self, names: Collection[str] | None = None) -> None:
        """Raise `BundleError`, naming it, if one of the files is not what was recorded."""
        if problems := self.altered(names):
            raise BundleError(f"{self.path}: {'; '.join(problems)}. Convert again with --force.")


def known_encoder(name: object) -> str:
    """Return the registry's name of a model, given it or an alias, else ""."""
    from vox2face.zoo import registry

    try:
        return registry.entry(name).name if isinstance(name, str) else ""
    except UsageError:
        return ""


def default_path(entry: Entry) -> Path:
    """Return where the bundle of a zoo entry lies unless another place is named.

    One that comes finished with vox2face is read where it is installed.
    """
    if entry.source.finished and entry.source.embedded:
        return entry.source.embedded
    return home() / "bundles" / entry.name


def is_bundle(path: Path) -> bool:
    """Whether the folder holds a bundle; one that a killed run had moved aside comes back."""
    bring_back(path)
    return (path / CONFIG).is_file()


def place_for_export(path: Path) -> Path:
    """Return where an exported file goes: behind a link, what it points to.

    Raises `UsageError` if it would replace a file of a bundle.
    """
    path = path.resolve() if path.is_symlink() else path
    if path.name in BUNDLE_FILES and is_bundle(path.parent):
        raise UsageError(
            f"{path} is a file of the bundle in that folder, which an export must not replace: "
            "choose another place."
        )
    return path


def read(path: Path) -> Bundle:
    """Open a bundle folder; a folder that is none raises `BundleError`."""
    if not is_bundle(path):
        if not path.is_dir():
            advice = "name a bundle folder or a registry name"
            if path.is_file():
                advice = f"make a bundle of it by vox2face convert {shlex.quote(str(path))}"
            raise BundleError(f"{path} is not a folder: {advice}.")
        raise BundleError(f"{path} has no {CONFIG}, so it is not a bundle: convert weights first.")
    config = read_config(path)
    if not (path / WEIGHTS).is_file():
        raise BundleError(f"{path} lacks {WEIGHTS}: convert again with --force.")
    return Bundle(path, config)


def read_config(path: Path) -> dict[str, Any]:
    """Return what the config.json of a bundle folder says, or raise `BundleError`."""
    config = parsed(path, CONFIG, known)
    if config["format"] != FORMAT:
        raise BundleError(
            f"{path / CONFIG} has format {config['format']!r}, this vox2face reads {FORMAT}: "
            "convert again or install the version that wrote it."
        )
    return config


def known(text: str) -> dict[str, Any]:
    """Return the content of a config.json; `ValueError` if facts are missing."""
    config: dict[str, Any] = json.loads(text)
    if config["format"] == FORMAT and not complete(config):
        raise ValueError("facts are missing")
    return config


def read_parity(path: Path) -> Report:
    """Return the proof in the parity.json of a bundle folder, or raise `BundleError`."""
    from vox2face.core.parity import Report

    return parsed(path, PARITY, Report.from_json)


def parsed(path: Path, name: str, parse: Callable[[str], Content]) -> Content:
    """Return what a file of facts in a bundle folder says, or raise `BundleError`."""
    try:
        return parse(short_text(path / name))
    except FileNotFoundError as error:
        raise BundleError(f"{path} lacks {name}: convert again with --force.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BundleError(
            f"{path / name} is damaged ({error!s:.200}): convert again with --force."
        ) from error


def short_text(path: Path) -> str:
    """Return the text of a file of facts; one of absurd size raises `BundleError`, unread."""
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise BundleError(
            f"{path} has more than {size_text(LARGEST)}, which no {path.name} has: convert again "
            "with --force."
        )
    return content.decode("utf-8")


def complete(config: dict[str, Any]) -> bool:
    """Whether a config.json has all that loading and checking need."""
    texts = (config["entry"], config["preset"], config["vox2face"], config["source"]["sha256"])
    texts += tuple(spec["name"] for spec in config["outputs"])
    files = (config["files"][WEIGHTS], *config["files"].values())
    texts += (
        config.get("output_activation", ""),
        config.get("package", ""),
        *config.get("space", {}).values(),
    )
    Space(**config.get("space", {}))  # a TypeError for other fields
    if not isinstance(config["source"].get("training", {}), dict):
        return False
    return all(isinstance(text, str) for text in texts) and all(
        isinstance(facts["size"], int) and HASH.fullmatch(facts["sha256"]) for facts in files
    )


def describe(
    entry: Entry, preset: str, space: Space, source: dict[str, Any], outputs: Sequence[TensorSpec]
) -> dict[str, Any]:
    """Return the content of config.json; `add_file` completes it."""
    from vox2face.zoo.registration import PACKAGES

    licence = entry.source.licence
    return {
        "format": FORMAT,
        "vox2face": __version__,
        "entry": entry.name,
        **({"package": PACKAGES[entry.name]} if entry.name in PACKAGES else {}),
        "kind": entry.kind,
        "preset": preset,
        "space": asdict(space),
        **entry.variant,
        "input": asdict(entry.input),
        "outputs": [asdict(spec) for spec in outputs],
        "licence": {name: fact for name, fact in asdict(licence).items() if name != "identifier"},
        "source": source,
        **({"warp": "none"} if entry.kind == "face-decoder" else {}),
        "files": {},
    }


def add_file(config: dict[str, Any], path: Path, digest: str) -> None:
    """Record a file of the bundle with its size in bytes and its sha256."""
    config["files"][path.name] = {"size": path.stat().st_size, "sha256": digest}


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Write config.json, all or nothing."""
    with atomic_file(folder / CONFIG) as partial:
        partial.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
