"""The wheel holds everything, extras never clash, imports keep to their walls."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from vox2face import __version__
from vox2face.spec import resolve
from vox2face.zoo.catalog import ENTRIES

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = {
    "vox2face": "vox2face",
    "zoo": "vox2face.zoo",
    "train": "vox2face.train",
    "converters": "vox2face.converters",
}
# Each may import those to its left, and within itself.
ORDER = (
    "vox2face.errors vox2face.spec vox2face.files vox2face.parity vox2face.image "
    "vox2face.safetensors_header vox2face.safetensors_values vox2face.ffmpeg vox2face.wav "
    "vox2face.audible vox2face.audio "
    "vox2face.fetch vox2face.progress vox2face.extras vox2face.drawing vox2face.face "
    "vox2face.comparison | vox2face.zoo | "
    "vox2face.bundle | vox2face.labels | vox2face.converters | vox2face.hub_errors vox2face.hub | "
    "vox2face.locate | vox2face.loaded | vox2face.face_encoder vox2face.voice_encoder "
    "vox2face.face_decoder vox2face.faces | "
    "vox2face.runtime | vox2face.pipelines | vox2face.train | vox2face.cli vox2face.__main__"
)
WALLS = {
    "tensorflow": {"vox2face.converters.keras_twin"},
    "tf_keras": {"vox2face.converters.keras_twin"},
    "keras": {"vox2face.converters.keras_twin"},
    "onnx": {"vox2face.converters.export", "vox2face.converters.run_onnx"},
    "onnxruntime": {
        "vox2face.converters.run_onnx",
        "vox2face.converters.prove",  # names its type
        "vox2face.loaded",
        "vox2face.face_encoder",
        "vox2face.face_decoder",
        "vox2face.voice_encoder",
        "vox2face.train.synth.bank_kokoro",
    },
    "av": {"vox2face.ffmpeg", "vox2face.train.synth.bank_flac"},
    "transformers": set(),
    "h5py": {"vox2face.converters.readers", "vox2face.converters.write_keras"},
    "click": {"vox2face.cli"},
    "huggingface_hub": {"vox2face.hub"},
    "requests": {"vox2face.fetch"},
    "tqdm": {"vox2face.progress"},
    "fsspec": {"vox2face.train.storage"},
    "matplotlib": {"vox2face.train.plots", "vox2face.train.curves"},
    "accelerate": {
        f"vox2face.train.{name}"
        for name in ("loop", "keeper", "voice_data", "voice_eval", "decoder_eval")
    },
    "numba": {"vox2face.train.synth"},
    "tensorboard": {"vox2face.train.history"},
    "pyworld": {"vox2face.train.synth"},
    "ray": {"vox2face.train.ray_engine"},
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


def test_imports_point_one_way() -> None:
    ranks = {name: i for i, group in enumerate(ORDER.split("|")) for name in group.split()}

    def rank(module: str) -> int | None:
        return next((r for n, r in ranks.items() if f"{module}.".startswith(f"{n}.")), None)

    for module, path in MODULES.items():
        own = rank(module)
        assert own is not None or module == "vox2face", f"{module} has no place in the order"
        for name, _ in imports(path):
            other = rank(name)
            if own is not None and other is not None:
                assert other <= own, f"{module} imports {name}"


def test_third_party_packages_stay_behind_their_walls() -> None:
    for module, path in MODULES.items():
        for name, _ in imports(path):
            for package, allowed in WALLS.items():
                if name.split(".")[0] == package:
                    inside = any(f"{module}.".startswith(f"{a}.") for a in allowed)
                    assert inside, f"{module} imports {name}"


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "tensorflow", "tf_keras", "av"])
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
    assert {"onnx", "onnx-gpu", "hub", "keras", "voice", "train", "app", "all", "dev"} <= set(
        extras
    )
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
        for reference in (entry.build, entry.table, entry.graph, entry.reference):
            assert resolve(reference) is not None
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
