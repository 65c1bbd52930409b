"""The model card of a bundle: README.md with the metadata the Hugging Face hub reads."""

from __future__ import annotations

from typing import Any

from vox2face.parity import Report
from vox2face.spec import Entry

TEMPLATE = """\
---
license: {licence_id}
license_name: {licence_name}
license_link: {licence_url}
library_name: vox2face
pipeline_tag: image-feature-extraction
tags:
- face-recognition
- vgg-face
- safetensors{onnx_tag}
---

# {name}

{summary}. Converted from `{file}` (sha256 `{sha256}`), {published}.

## Use

```python
import vox2face

encoder = vox2face.load("path/to/this/folder")
embeddings = encoder(["face.png"])  # float32 (1, {width})
```

- {input}. Preset `{preset}`: {preset_meaning}.
- {output}.

## Parity with the original

{verdict} `parity.json` has the figures of every comparison with an independent
forward pass on the original file's own arrays.

## Intended use and limits

Research on faces and voices. Crop the face first; embeddings made with different presets do not
compare. Face networks differ in accuracy between groups of people: do not use this one to decide
about persons.

## Licence

{notice}
"""


def model_card(entry: Entry, config: dict[str, Any], report: Report) -> str:
    """Return the text of README.md for a bundle."""
    from vox2face.zoo.presets import face_preset

    source, licence = config["source"], entry.source.licence
    return TEMPLATE.format(
        licence_id=licence.identifier,
        licence_name=licence.name,
        licence_url=licence.url,
        onnx_tag="\n- onnx" if "model.onnx" in config["files"] else "",
        name=entry.name,
        summary=entry.summary,
        file=source["file"],
        sha256=source["sha256"],
        published=PUBLISHED[source["published"]],
        width=entry.width,
        input=entry.input,
        preset=config["preset"],
        preset_meaning=face_preset(config["preset"]).meaning,
        output=entry.outputs[0],
        verdict=report.verdict(),
        notice=licence.notice,
    )


PUBLISHED = {
    True: "which is the published file",
    False: "which is not the published file",
    None: "a file whose publisher states no hash",
}
