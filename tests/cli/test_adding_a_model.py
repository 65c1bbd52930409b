"""A model of one's own, from a Keras file to a proven bundle, as docs/adding-a-model.md tells."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import onnx
import pytest
from helpers.paths import ROOT
from PIL import Image

import vox2face as package
from vox2face.core.errors import UsageError, Vox2FaceWarning
from vox2face.media.image import samples
from vox2face.zoo import registry
from vox2face.zoo.catalog import ENTRIES

PAGE = (ROOT / "docs" / "adding-a-model.md").read_text()
FILES: dict[str, str] = dict(re.findall(r"```\w+ title=(\S+)\n(.*?)```", PAGE, re.S))
(COMMANDS,) = re.findall(r"```sh\n(.*?)```", PAGE, re.S)


@pytest.fixture
def known_anew() -> Iterator[None]:
    """Let the registry look for packages, and forget afterwards what it found."""
    registry.register_packages.cache_clear()
    yield
    registry.REGISTERED.clear()
    registry.register_packages.cache_clear()
    sys.modules.pop("smallface", None)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known_anew: None) -> Path:
    """The page's package, as pip would install it."""
    (point,) = re.findall(r'^(\w+) = "(smallface:\w+)"', FILES["pyproject.toml"], re.M)
    facts = tmp_path / "site" / "smallface-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: smallface\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{' = '.join(point)}\n")
    (facts.parent / "smallface.py").write_text(FILES["smallface.py"])
    monkeypatch.syspath_prepend(facts.parent)
    return tmp_path


def test_the_page_leads_from_a_keras_file_to_a_proven_bundle_and_its_onnx_file(
    installed: Path,
    python: Callable[..., str],
    vox2face: Callable[..., CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(installed)
    python(FILES["train.py"])
    for line in COMMANDS.splitlines():
        done = vox2face(*shlex.split(line)[1:], PYTHONPATH=str(installed / "site"))
        assert done.returncode == 0, done.stderr
    parity = json.loads(Path("bundle/parity.json").read_text())
    assert {row["tap"] for row in parity["rows"]} >= {"conv1", "conv2", "embedding"}
    assert onnx.load("small.onnx").graph.input[0].name == "image"
    listed = vox2face("zoo", "list", "--json", PYTHONPATH=str(installed / "site")).stdout
    assert json.loads(listed)[-1]["name"] == "smallface.mine"
    Image.fromarray(next(iter(samples().values()))).save("face.png")
    exec(FILES["convert.py"], {})
    assert capsys.readouterr().out.strip() == "(1, 64)"
    twice = package.load("bundle", backend="onnx")("face.png")
    assert abs(twice - package.load("bundle")("face.png")).max() < 1e-4


def test_names_kinds_and_presets_of_registered_models_have_to_be_free_and_known(
    known_anew: None,
) -> None:
    own = replace(ENTRIES[0], name="small.mine", aliases=())
    registry.register(own)
    registry.register(replace(own, summary="again"))
    assert package.entry("small.mine").summary == "again"
    with pytest.raises(UsageError, match=r"There is a model vggface\.serengil already"):
        registry.register(replace(own, name="vggface.serengil"))
    with pytest.raises(UsageError, match="There is a model VE_conv already"):
        registry.register(replace(own, aliases=("VE_conv",)))
    with pytest.raises(UsageError, match="'nose-encoder': use face-encoder or"):
        registry.register(replace(own, name="a.b", kind="nose-encoder"))
    with pytest.raises(UsageError, match="no face preset 'mine'"):
        registry.register(replace(own, name="a.b", preprocess="mine"))


def test_a_package_that_fails_costs_a_warning(installed: Path) -> None:
    (installed / "site" / "smallface.py").write_text(
        "raise RuntimeError('it was made for another version')"
    )
    assert package.entry("vggface.serengil").kind == "face-encoder"  # imports no other package
    with pytest.warns(Vox2FaceWarning, match=r"smallface:MODEL .* made for another version"):
        assert "vggface.serengil" in package.list_models()
