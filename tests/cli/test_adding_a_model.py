"""A model of one's own, from a Keras file to a proven bundle, as docs/adding-a-model.md tells."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import onnx
import pytest
from helpers.paths import ROOT
from PIL import Image

import vox2face as package
from vox2face.core.entry import Architecture, Entry, TensorSpec
from vox2face.core.errors import UsageError, Vox2FaceWarning
from vox2face.media.image import samples
from vox2face.zoo import registration
from vox2face.zoo.catalog import ENTRIES

PAGE = (ROOT / "docs" / "adding-a-model.md").read_text()
FILES: dict[str, str] = dict(re.findall(r"```\w+ title=(\S+)\n(.*?)```", PAGE, re.S))
(COMMANDS,) = re.findall(r"```sh\n(.*?)```", PAGE, re.S)


@pytest.fixture
def known_anew() -> Iterator[None]:
    """Let the registry look for packages, and forget afterwards what it found."""
    registration.register_packages.cache_clear()
    yield
    registration.REGISTERED.clear()
    registration.PACKAGES.clear()
    registration.register_packages.cache_clear()
    for name in ("smallface", "other"):
        sys.modules.pop(name, None)


@pytest.fixture
def install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known_anew: None
) -> Callable[..., Path]:
    """Return a function that lays a package of models down as pip would, and returns its folder."""
    site = tmp_path / "site"

    def put(code: str, name: str = "smallface") -> Path:
        facts = site / f"{name}-1.0.dist-info"
        facts.mkdir(parents=True)
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (facts / "entry_points.txt").write_text(f"[{registration.GROUP}]\na = {name}:MODEL\n")
        (site / f"{name}.py").write_text(code)
        monkeypatch.syspath_prepend(site)
        return site

    return put


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known_anew: None) -> Path:
    """The page's files in one folder, and its package installed by pip below it."""
    pytest.importorskip("setuptools")
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps"]
    done = subprocess.run(
        [*pip, "--no-index", "--target", site, tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    monkeypatch.syspath_prepend(site)
    return tmp_path


@pytest.mark.long
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
    listed = vox2face("zoo", "list", PYTHONPATH=str(installed / "site")).stdout
    assert listed.endswith("needs: vox2face convert smallface.mine CHECKPOINT\n")
    assert json.loads(Path("bundle/config.json").read_text())["package"] == "smallface"
    assert "The package `smallface` has to be installed" in Path("bundle/README.md").read_text()
    refused = vox2face("check", "bundle")
    assert refused.returncode == 1
    assert "bundle is a bundle of 'smallface.mine'" in refused.stderr
    assert "install the package smallface" in refused.stderr
    Image.fromarray(next(iter(samples().values()))).save("face.png")
    exec(FILES["convert.py"], {})
    assert capsys.readouterr().out.strip() == "(1, 64)"
    twice = package.load("bundle", backend="onnx")("face.png")
    assert abs(twice - package.load("bundle")("face.png")).max() < 1e-4


def own(**changed: Any) -> Entry:
    return replace(ENTRIES[0], **{"name": "small.mine", "aliases": (), **changed})


def test_a_model_may_be_registered_anew_under_its_name_and_aliases(known_anew: None) -> None:
    registration.register(own(aliases=("small",)))
    registration.register(own(aliases=("small",), summary="again"))
    assert package.entry("small").summary == "again"


REFUSED: dict[str, tuple[Any, str]] = {
    "taken": (own(name="vggface.serengil"), "There is a model vggface.serengil already"),
    "taken but for case": (own(name="VGGface.Serengil"), "There is a model vggface.serengil alre"),
    "alias taken": (own(aliases=("ve_CONV",)), "There is a model VE_conv already"),
    "published": (own(aliases=("Serengil",)), "Serengil has a meaning of its own"),
    "path": (own(name="../../evil"), "'../../evil' cannot be a model: name it architecture.tag"),
    "address": (own(name="hf:user/repo"), "name it architecture.tag"),
    "empty": (own(name=""), "name it architecture.tag"),
    "two lines": (own(name="small.mine\n"), "name it architecture.tag"),
    "no tag": (own(name="speech2face"), "name it architecture.tag"),
    "alias of two lines": (own(aliases=("a\nb",)), "the alias 'a\\nb' may have"),
    "kind": (own(kind="nose-encoder"), "'nose-encoder': use face-encoder or"),
    "preset": (own(preprocess="mine"), "no face preset 'mine'"),
    "no name": (own(name=None), "None cannot be a model: name is None, expected str"),
    "no source": (own(source=None), "source is None, expected Source"),
    "outputs": (own(outputs=3), "outputs is 3, expected tuple[TensorSpec, ...]"),
    "no output": (own(outputs=()), "the first output of an encoder is named embedding"),
    "a name for an output": (own(outputs=("x",)), "outputs[0] is 'x', expected TensorSpec"),
    "licence": (
        own(source=replace(ENTRIES[0].source, licence="MIT")),
        "source.licence is 'MIT', expected Licence",
    ),
    "open end": (
        own(input=TensorSpec("input", ("batch", "n"), "float32", "NC", "")),
        "the last axis of input needs a size",
    ),
    "a class": (own(architecture=dict), "expected str | Architecture"),
    "a network's name": (own(architecture="vggfacee"), "there is no network 'vggfacee'"),
    "any size": (own(architecture=Architecture(dict), any_size=True), "with an infer_config"),
    "no table": (own(weight_map=None), "its weight_map is None: give a WeightMap"),
    "a table's name": (own(weight_map="vgg"), "its weight_map is 'vgg': give a WeightMap"),
    "no entry": ("small.mine", "'small.mine' is not a model: give an Entry"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_a_model_is_refused_in_a_sentence_and_nothing_is_registered(
    case: str, known_anew: None
) -> None:
    wrong, told = REFUSED[case]
    with pytest.raises(UsageError) as caught:
        registration.register(own(name="good.one"), wrong)
    assert told in str(caught.value)
    assert not registration.REGISTERED


HEAD = """
from dataclasses import replace
from vox2face.zoo.catalog import ENTRIES
OWN = replace(ENTRIES[0], name="small.mine", aliases=())
"""


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("raise RuntimeError('it was made for another version')", "made for another version"),
        ("import sys\nsys.exit()", "SystemExit"),
        ("class Odd(BaseException): pass\nraise Odd('of its own kind')", "Odd: of its own kind"),
        (f"{HEAD}MODEL = replace(OWN, source=None)", "source is None, expected Source"),
        (f"{HEAD}MODEL = [OWN, replace(OWN, name='small.two', kind='x')]", "'small.two' cannot"),
        ("MODEL = 3", "not iterable"),
    ],
)
def test_a_package_that_fails_costs_a_warning(
    install: Callable[..., Path], code: str, told: str
) -> None:
    install(code)
    assert package.entry("vggface.serengil").kind == "face-encoder"  # imports no other package
    with pytest.warns(Vox2FaceWarning, match=rf"smallface:MODEL .* smallface .*{told}"):
        listed = package.list_models()
    assert listed == [entry.name for entry in ENTRIES]


def test_ctrl_c_while_a_package_is_imported_is_not_taken_for_its_failure(
    install: Callable[..., Path],
) -> None:
    install("import sys\nsys.exit(130)")  # as the command's handler of signals does
    with pytest.raises(SystemExit):
        package.list_models()


def test_of_two_packages_with_a_model_of_one_name_the_second_is_told_of_the_first(
    install: Callable[..., Path],
) -> None:
    install(f"{HEAD}MODEL = OWN")
    install(f"{HEAD}MODEL = replace(OWN, name='Small.mine', summary='other')", "other")
    with pytest.warns(Vox2FaceWarning) as caught:
        listed = package.list_models()
    assert len(listed) == len(ENTRIES) + 1
    (warning,) = caught
    assert "of the package smallface already" in str(warning.message) or (
        "of the package other already" in str(warning.message)
    )


def test_what_was_registered_is_not_replaced_by_a_package(install: Callable[..., Path]) -> None:
    install(f"{HEAD}MODEL = OWN")
    registration.register(own(summary="mine"))
    assert package.entry("small.mine").summary == "mine"


def test_what_a_package_prints_goes_to_standard_error(
    install: Callable[..., Path], vox2face: Callable[..., CompletedProcess[str]]
) -> None:
    site = install(f"print('Welcome')\n{HEAD}MODEL = OWN")
    done = vox2face("zoo", "list", "--json", PYTHONPATH=str(site))
    assert json.loads(done.stdout)[-1]["name"] == "small.mine"
    assert "Welcome" in done.stderr
