"""The zoo as a page of Markdown, docs/zoo.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vox2face.converters.maps import weight_map
from vox2face.core.entry import OUTPUT_ACTIVATIONS, Entry, TensorSpec
from vox2face.zoo.presets import FACE_PRESETS, FacePreset, meaning

HEAD = """\
# The zoo

Written by `vox2face zoo list --markdown` from the catalogue in `zoo/catalog.py`; `make docs` writes
it anew. FLOPs are those of one picture's embedding, a multiplication and an addition counted as
two; parameters include the classifier. Parity is the largest difference that PyTorch and ONNX
Runtime have shown at any layer of a full-size conversion, as a part of the layer's largest value
(CPU, float32); a conversion fails above the tolerance of 1e-4, or below a cosine of 0.999999. What
that proves, and with whose code the tests compare: [proof.md](proof.md).

The space says whose embeddings a network gives or takes: a face encoder, and the preset it was fed
with. Networks of different spaces do not go together. A bundle records its own.

| Model | Kind | Input | Output | Parameters | FLOPs | Preset | Space | Licence | Source | Parity |
|---|---|---|---|---|---|---|---|---|---|---|
"""


PRESETS = """
## Presets of face encoders

A preset makes of a picture what a network was trained on. `--preset` and `preset=` choose another
than a model's own; embeddings of different presets do not compare.

| Preset | Values | Fit | Resampling | Files read as by | Source |
|---|---|---|---|---|---|
"""
DEEPFACE = """
deepface preprocesses in two ways. `deepface` is what it makes of a face that a detector found, and
of all that its `verify` and `find` embed, with `skip` too: it divides by 255 and resizes then.
`deepface-skip` is its `represent(..., detector_backend="skip")`: it resizes 8-bit pictures, to
whole grey levels, and divides then. Of pictures that need no resizing both make the same; of others
embeddings differ by up to 1e-2 of the largest value (random weights). A picture of nothing but
zeros and ones deepface does not divide at all; here it is divided like any other. Both read files
as OpenCV 5 does, pixel for pixel: JPEG, also of inks (CMYK), PNG of 8 and 16 bits, GIF, BMP, WebP
and AVIF. Those differ that are transparent GIF, AVIF turned by Exif (here they stay), TIFF with
transparency, inks, YCbCr, Lab or colours of 16 bits, and JPEG 2000 of 16 bits; PGM of 16 bits is
refused.
"""
FILTERS = {
    "cv2-linear": "OpenCV's bilinear, of floats",
    "cv2-linear-uint8": "OpenCV's bilinear, of 8-bit pictures",
    "pil-bilinear": "Pillow's bilinear",
    "pil-nearest": "Pillow's nearest",
}
READERS = {"opencv": "OpenCV", "pillow": "Pillow"}


def page(entries: Sequence[Entry]) -> str:
    """Return the whole page: tables, then what there is to know of each model."""
    table = "".join(f"| {' | '.join(cells(entry))} |\n" for entry in entries)
    presets = "".join(f"| {' | '.join(preset_cells(p))} |\n" for p in FACE_PRESETS.values())
    sections = "".join(line for entry in entries for line in section(entry))
    return HEAD + table + PRESETS + presets + DEEPFACE + sections


def preset_cells(preset: FacePreset) -> Iterator[str]:
    """Yield one preset's cells of the table."""
    yield f"`{preset.name}`"
    yield preset.meaning
    yield "letterboxed on black" if preset.fit == "letterbox" else "stretched"
    yield FILTERS[preset.filter]
    yield READERS[preset.reader]
    yield preset.cite


def cells(entry: Entry) -> Iterator[str]:
    """Yield one model's cells of the table."""
    source, licence = entry.source, entry.source.licence
    yield f"[`{entry.name}`](#{anchor(entry.name)})"
    yield entry.kind
    yield tensor(entry.input)
    yield "<br>".join(tensor(spec) for spec in entry.outputs)
    yield f"{entry.parameters:,}"
    yield f"{entry.flops / 1e9:.1f} G"
    yield f"`{entry.preprocess}`"
    yield space(entry)
    yield f"[{licence.name}]({licence.url})"
    name = source.filename if source.urls else "its authors' page"
    if source.finished:
        yield "comes with vox2face"
    else:
        yield f"[{name}]({source.repository})" if source.repository else "untrained"
    yield f"{entry.measured:.0e}" if entry.measured else "each conversion proves it"


def space(entry: Entry) -> str:
    """Return whose embeddings a network is about."""
    own = entry.own_space
    return f"`{own.encoder}`, `{own.preset}`" if own.encoder else "that of its training"


def section(entry: Entry) -> Iterator[str]:
    """Yield the lines about one model."""
    yield f"\n## {entry.name}\n\n{entry.summary}."
    if entry.source.finished:
        yield " It comes with vox2face and needs no conversion."
    yield f" Convert it with `{entry.command}`.\n\n" if entry.command else "\n\n"
    if entry.aliases:
        yield f"- Also known as {', '.join(f'`{name}`' for name in entry.aliases)}.\n"
    yield f"- Input `{entry.input.name}`: {entry.input.meaning}.\n"
    yield f"- Preset `{entry.preprocess}`: {meaning(entry.preprocess)}.\n"
    yield f"- Space of its embeddings: {space(entry)}.\n"
    for spec in entry.outputs:
        yield f"- Output `{spec.name}`: {spec.meaning}.\n"
    if entry.output_activation:
        yield f"- Ends {OUTPUT_ACTIVATIONS[entry.output_activation]}.\n"
    if entry.notop:
        yield f"- Without its classifier: `{entry.notop.filename}`, with `--no-top`.\n"
    if weight_map(entry).original:
        yield "- Goes back to Keras with `vox2face export --format keras`.\n"
    if entry.note:
        yield f"- {entry.note}\n"
    yield f"- {entry.source.licence.notice}\n"


def tensor(spec: TensorSpec) -> str:
    """Return a tensor's name, type and shape."""
    return f"`{spec.name}` {spec.dtype} ({', '.join(str(n) for n in spec.shape)})"


def anchor(heading: str) -> str:
    """Return the name under which GitHub links to a heading."""
    return "".join(c for c in heading.lower().replace(" ", "-") if c.isalnum() or c in "-_")
