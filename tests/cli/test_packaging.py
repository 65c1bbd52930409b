"""The wheel holds everything, extras never clash, imports keep to their walls."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.paths import ROOT

from vox2face.converters.maps import weight_map
from vox2face.core.version import __version__
from vox2face.zoo import registry
from vox2face.zoo.catalog import ENTRIES

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = {
    "vox2face": "vox2face",
    "zoo": "vox2face.zoo",
    "train": "vox2face.train",
    "converters": "vox2face.converters",
}
WALLS = {
    "tensorflow": {"vox2face.converters.keras.activations"},
    "tf_keras": {"vox2face.converters.keras.activations"},
    "keras": {"vox2face.converters.keras.activations"},
    "onnx": {"vox2face.converters.onnx.export", "vox2face.converters.readers.onnx_file"},
    **{name: {"vox2face.converters.onnx.export"} for name in ("onnx_ir", "onnxscript")},
    "onnxruntime": {
        "vox2face.converters.onnx.session",
        "vox2face.runtime.base",
        "vox2face.runtime.face_encoder",
        "vox2face.runtime.face_decoder",
        "vox2face.runtime.voice_encoder",
        "vox2face.train.synth.bank.kokoro",
    },
    "av": {"vox2face.media.codecs", "vox2face.media.ffmpeg", "vox2face.train.synth.bank.flac"},
    "sounddevice": {"vox2face.media.microphone"},
    "transformers": set(),
    "h5py": {"vox2face.converters.readers", "vox2face.converters.keras.writer"},
    "click": {"vox2face.cli"},
    "huggingface_hub": {"vox2face.store.hub"},
    "requests": {"vox2face.store.download"},
    "tqdm": {"vox2face.core.progress"},
    "fsspec": {"vox2face.train.storage"},
    "matplotlib": {"vox2face.train.figures"},
    "accelerate": {"vox2face.train.trainer", "vox2face.train.voice", "vox2face.train.decoder"},
    "numba": {"vox2face.train.synth"},
    "tensorboard": {"vox2face.train.trainer.history"},
    "pyworld": {"vox2face.train.synth"},
    "ray": {"vox2face.train.prepare.ray_engine"},
}


def modules() -> Iterator[tuple[str, Path]]:
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            yield ".".join([package, *(p for p in parts if p != "__init__")]), path


MODULES = dict(modules())


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield (module, whether it is imported when this one is) for every import statement."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            names = [f"{node.module}.{a.name}" for a in node.names] + [str(node.module)]
        yield from ((name, node in tree.body) for name in names)


def test_the_list_of_packages_equals_the_tree() -> None:
    found = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    listed = set(PROJECT["tool"]["setuptools"]["packages"])
    assert listed == found | {"vox2face.assets"}  # assets holds pictures only


def test_third_party_packages_stay_behind_their_walls() -> None:
    for module, path in MODULES.items():
        for name, _ in imports(path):
            for package, allowed in WALLS.items():
                if name.split(".")[0] == package:
                    inside = any(f"{module}.".startswith(f"{a}.") for a in allowed)
                    assert inside, f"{module} imports {name}"


@pytest.mark.long
@pytest.mark.parametrize(
    "package", ["onnx", "onnxruntime", "tensorflow", "tf_keras", "av", "sounddevice"]
)
def test_optional_packages_are_imported_late(package: str) -> None:
    for module, path in MODULES.items():
        for name, at_import in imports(path):
            if name.split(".")[0] == package:
                assert not at_import, f"{module} imports {package} at once"


@pytest.mark.parametrize("name", ["ast", "types", "io", "copy", "random", "token", "queue"])
def test_no_module_shadows_the_standard_library(name: str) -> None:
    assert not [module for module in MODULES if module.rsplit(".", 1)[-1] == name]


def requirements(extra: str) -> set[str]:
    """Return the packages an extra brings, other extras of ours resolved."""
    found: set[str] = set()
    for line in PROJECT["project"]["optional-dependencies"][extra]:
        if match := re.match(r"vox2face\[(.*)\]", line):
            for inner in match[1].split(","):
                found |= requirements(inner.strip())
        else:
            found.add(re.split(r"[<>=!~\[; ]", line)[0].lower())
    return found


def test_no_extra_brings_both_onnx_runtimes() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    known = {"onnx", "onnx-gpu", "onnx-gpu-cu12", "hub", "keras", "voice", "train", "all", "dev"}
    assert known <= set(extras)
    for extra in extras:
        assert not {"onnxruntime", "onnxruntime-gpu"} <= requirements(extra), extra
    assert requirements("dev") >= set().union(
        *(requirements(e) for e in ("onnx", "hub", "voice", "train", "keras"))
    )
    assert requirements("all") >= requirements("onnx") | requirements("hub")
    assert "onnxruntime-gpu" not in requirements("all") | requirements("dev")


def test_the_constraint_keeps_torch_and_the_project_does_not() -> None:
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().splitlines()
    assert not [d for d in PROJECT["project"]["dependencies"] if "==" in d]


def test_all_references_of_the_catalogue_resolve() -> None:
    for entry in ENTRIES:
        assert callable(registry.architecture(entry).build)
        assert (registry.architecture(entry).infer_config is not None) == entry.any_size
        assert weight_map(entry).rules
    assert len({n for e in ENTRIES for n in (e.name, *e.aliases)}) == sum(
        1 + len(e.aliases) for e in ENTRIES
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain, not editable, installation in a folder of its own."""
    target = tmp_path_factory.mktemp("plain")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--disable-pip-version-check",
        "--target",
        str(target),
        str(ROOT),
    ]
    subprocess.run(command, check=True)
    return target


def python(code: str, cwd: Path, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.long
def test_a_plain_installation_has_all_modules_and_only_one_name(plain: Path) -> None:
    installed = {p.name for p in plain.iterdir() if not p.name.endswith(".dist-info")}
    assert installed - {"bin"} == {"vox2face"}
    for module in MODULES:
        parts = module.split(".")
        assert plain.joinpath(*parts).with_suffix(".py").is_file() or (
            plain.joinpath(*parts, "__init__.py").is_file()
        ), module
    for name in ("py.typed", "assets/astronaut.png", "assets/head.png", "assets/NOTICE.md"):
        assert (plain / "vox2face" / name).is_file()
    assets = [path.relative_to(ROOT) for path in (ROOT / "vox2face/assets").rglob("*")]
    assert [path for path in assets if not (plain / path).exists()] == []


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("core/errors.py", "", ""),
        ("core/errors.py", "import vox2face.zoo.registry", "Rooms"),
        ("zoo/registry.py", "def late():\n    import vox2face.cli", "Rooms"),
        ("train/corpus/manifest.py", "import vox2face.train.figures.show", "Rooms of training"),
        ("converters/job.py", "import vox2face.converters.convert", "No circles"),
    ],
)
def test_an_import_against_the_order_of_rooms_is_found(
    plain: Path, tmp_path: Path, module: str, line: str, broken: str
) -> None:
    shutil.copytree(plain / "vox2face", tmp_path / "vox2face", ignore=lambda *_: ["assets"])
    path = tmp_path / "vox2face" / module
    path.write_text(f"{path.read_text()}\n\n{line}\n")
    lint = [Path(sys.executable).with_name("lint-imports"), ROOT / "pyproject.toml", "--no-cache"]
    done = subprocess.run(lint, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == bool(broken), done.stdout + done.stderr
    assert f"{broken} BROKEN" in done.stdout or not broken, done.stdout


def test_from_the_clones_root_a_plain_installation_gets_a_sentence(plain: Path) -> None:
    inside = python("import vox2face", ROOT, plain)
    assert inside.returncode == 1
    assert "leave the clone's root folder" in inside.stderr
    assert "ModuleNotFoundError" not in inside.stderr
    outside = python("import vox2face; print(vox2face.__version__)", plain.parent, plain)
    assert outside.stdout.strip() == __version__, outside.stderr


def test_the_changelog_knows_this_version() -> None:
    heading = "Unreleased" if ".dev" in __version__ else __version__
    assert f"## [{heading}]" in (ROOT / "CHANGELOG.md").read_text()
