"""The model card of a bundle: README.md with the metadata the Hugging Face hub reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vox2face.core.entry import Entry, Licence, Space
from vox2face.core.parity import Report
from vox2face.store.bundle import ONNX
from vox2face.zoo.presets import meaning

TEMPLATE = """\
---
{metadata}
---

# {name}

{summary}.

{what}, converted from
{format} to {formats} with [vox2face](https://github.com/vox2face/vox2face).

## Use

```python
import vox2face

{use}
```

{given}

| | |
|---|---|
| Preset | `{preset}`: {preset_meaning} |
| Input | {input} |
{outputs}
{rows}
| Parameters | {parameters:,} |

## Intended use

{intended}

## Out of scope, and limits

{limits}
{note}
## Parity with the original

{verdict}
{parity}
## Provenance

| | |
|---|---|
| Original | {repository} |
| File | `{file}`, {published} |
| sha256 | `{sha256}` |
| Converted by | vox2face {version} |

## Licence

{notice} The terms: {licence_url}
{citation}"""

# The hub's tasks, by kind of model
PIPELINES = {"face-encoder": "image-feature-extraction", "voice-encoder": "feature-extraction"}

# What a card says, by kind of model
TEXTS = {
    "face-encoder": {
        "what": "A network that turns a picture of a face into a vector of {width} numbers",
        "use": """\
encoder = vox2face.load("hf:user/repo")  # or "path/to/this/folder"
embeddings = encoder(["face.png"])  # float32 (1, {width})""",
        "given": "Pictures are cropped faces; the preprocessing below is part of the model and "
        "done by the encoder.",
        "intended": """\
Research on faces and voices: comparing faces, and as the target or the input of speech-to-face
models that were trained on these embeddings.""",
        "limits": """\
- Deciding about people: identification, surveillance, access. Face networks differ in accuracy
  between groups of people, and this one has not been tested for that.
- Whole photographs: crop the face first.
- Comparing embeddings that were made with different presets or different models.""",
    },
    "voice-encoder": {
        "what": "A network that turns a recording of speech into a vector of {width} numbers",
        "use": """\
encoder = vox2face.load("hf:user/repo")  # or "path/to/this/folder"
embeddings = encoder(["speech.wav"])  # float32 (1, {width})""",
        "given": "Recordings are of one speaker; the preprocessing below is part of the model and "
        "done by the encoder.",
        "intended": """\
Research on faces and voices: what a voice tells about a face on average, and comparing voices.""",
        "limits": """\
- Deciding about people: identification, profiling, surveillance, screening. Nobody's true face
  or identity can be had from a voice.
- Reading ethnicity, age or health from a voice: correlations in the training data are not facts
  about a person, and groups that are rare there are served badly.
- Comparing embeddings that were made with different presets or different models.""",
    },
    "face-decoder": {
        "what": "A network that draws a face from a vector of {width} numbers",
        "use": """\
pipeline = vox2face.SpeechToFace.from_zoo(voice="VOICE", decoder="hf:user/repo")
pipeline("speech.wav").save("face.png")""",
        "given": "VOICE is a voice encoder whose embeddings this decoder was trained for. Saved "
        "pictures are marked as synthetic.",
        "intended": """\
Research on what face embeddings and voices carry: seeing an embedding as a face.""",
        "limits": """\
- Pictures show no real person. They must not be used to identify, profile or judge anybody, nor be
  passed off as photographs.
- Faces are average-looking and follow the training data, which is not representative of people.
- Embeddings of other encoders, or of other presets, give nonsense.""",
    },
}
PUBLISHED = {
    True: "which is the published file",
    False: "which is not the published file",
    None: "whose publisher states no hash",
}
STAGES = {
    "torch": "PyTorch, every layer, with NumPy on the original file's own arrays",
    "onnx file": "ONNX Runtime, `model.onnx`, with PyTorch",
    "keras": "Keras, the same layers, with NumPy",
}
PROOF = "https://github.com/vox2face/vox2face/blob/main/docs/proof.md"
PARITY = """
| Computed with, compared with | Comparisons | Largest relative difference | Lowest cosine |
|---|---|---|---|
{rows}

Differences are relative to the largest value of the layer; all figures are in `parity.json`. The
values written are those read, bit for bit. What this shows and what it cannot:
[docs/proof.md]({proof}).
"""
CITATION = """
## Citation

The network and its training are described in:

```bibtex
{paper}
```
"""


def model_card(entry: Entry, config: dict[str, Any], report: Report) -> str:
    """Return the text of README.md for a bundle."""
    source, origin = config["source"], entry.source
    onnx = ONNX in config["files"]
    texts = {k: v.format(width=entry.width) for k, v in TEXTS[entry.kind].items()}
    return TEMPLATE.format(
        metadata="\n".join(metadata(entry, onnx, source["published"])),
        name=entry.name,
        summary=entry.summary,
        format=source["format"],
        formats="safetensors and ONNX" if onnx else "safetensors",
        **{**texts, "given": texts["given"] + needed(config)},
        preset=config["preset"],
        preset_meaning=meaning(config["preset"]).replace("|", "\\|"),
        input=f"`{entry.input.name}`{str(entry.input).removeprefix(entry.input.name)}",
        outputs="\n".join(
            f"| Output | `{spec.name}`{str(spec).removeprefix(spec.name)} |"
            for spec in entry.outputs
            if spec.name in {output["name"] for output in config["outputs"]}
        ),
        rows="\n".join(f"| {name} | {text} |" for name, text in _network_rows(entry, config)),
        parameters=config.get("parameters", entry.parameters),
        note=f"- {entry.note}\n" if entry.note else "",
        verdict=report.verdict(),
        parity=_parity_table(report),
        repository=origin.repository or "weights of one's own",
        file=source["file"],
        published=PUBLISHED[source["published"]],
        sha256=source["sha256"],
        version=config["vox2face"],
        notice=origin.licence.notice,
        licence_url=origin.licence.url,
        citation=CITATION.format(paper=origin.paper) if origin.paper else "",
    )


def needed(config: dict[str, Any]) -> str:
    """Return which package has to be installed for a model that is none of the zoo's."""
    package = config.get("package")
    return (
        f" The package `{package}` has to be installed, which brings the network."
        if package
        else ""
    )


def _network_rows(entry: Entry, config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of what a network ends in and of whose embeddings it is about."""
    if entry.output_activation:
        yield "Output activation", entry.output_activation
    space = Space(**config["space"])
    yield "Embeddings", f"of {space}"
    if space.digest:
        yield "sha256 of the tensors up to the embedding", f"`{space.digest}`"


def metadata(entry: Entry, onnx: bool, published: bool | None) -> Iterator[str]:
    """Yield the lines of YAML that the hub reads.

    A base model is named only if the weights are those that it publishes.
    """
    yield from _licence_lines(entry.source.licence)
    yield "library_name: vox2face"
    if entry.kind in PIPELINES:
        yield f"pipeline_tag: {PIPELINES[entry.kind]}"
    if entry.source.hub_id and published:
        yield f"base_model: {entry.source.hub_id}"
    yield "tags:"
    yield from (f"- {tag}" for tag in (*entry.tags, "safetensors", *(["onnx"] if onnx else [])))
    yield "inference: false"


def _licence_lines(licence: Licence) -> Iterator[str]:
    """Yield the licence; the hub wants a name and an address for one it does not know."""
    yield f"license: {licence.identifier}"
    if licence.identifier == "other":
        yield f"license_name: {licence.name}"
        yield f"license_link: {licence.url}"


def _parity_table(report: Report) -> str:
    """Return one row for each computation that was compared, or nothing if none was."""
    rows = [
        f"| {STAGES.get(stage, stage)} | {sum(row.stage == stage for row in report.rows)} "
        f"| {report.worst(stage).max_rel:.1e} "
        f"| {min(row.cosine for row in report.rows if row.stage == stage):.9f} |"
        for stage in report.stages
    ]
    return PARITY.format(rows="\n".join(rows), proof=PROOF) if rows else ""
