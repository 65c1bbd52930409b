"""The page of `vox2face demo`: one HTML file with its pictures and sounds inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from html import escape
from pathlib import Path

from vox2face.cli.demo_faces import Faces, Recorded, Synthetic
from vox2face.core.files import atomic_file
from vox2face.media.decoded_face import Face, marks

TYPES = {".jpg": "image/jpeg", ".mp3": "audio/mpeg", ".wav": "audio/wav"}
PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>vox2face: from a voice to a face</title>
<style>
body {{ font: 17px/1.5 system-ui, sans-serif; color: #18181b; background: #fff; margin: 0 auto;
  max-width: 62rem; padding: 1.5rem 1rem 3rem; }}
h1 {{ font-size: 1.7rem; line-height: 1.2; }}
h2 {{ font-size: 1.25rem; margin-top: 2.5rem; }}
h3 {{ font-size: 1rem; margin: 2rem 0 .5rem; }}
.warning {{ border-left: 4px solid #b45309; background: #fffbeb; padding: .6rem 1rem; }}
.people {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr));
  gap: 1rem; }}
figure {{ margin: 0; }}
img {{ width: 100%; height: auto; display: block; border-radius: 4px; }}
figcaption {{ font-size: .9rem; color: #52525b; padding-top: .3rem; }}
audio {{ width: 100%; max-width: 26rem; margin: .3rem 0 .8rem; }}
</style>
</head>
<body>
<h1>From a photograph and from a voice to a face</h1>
<p class="warning"><strong>The people in these pictures are synthetic.</strong> The faces were drawn
by the demo models that come with vox2face, which were trained on synthetic people only. They show
what the tools do, and tell nothing about real persons.</p>
<h2>Synthetic people, of whom the models learnt nothing</h2>
<p>The place says where the right face stands among the {people} faces of the gallery, ordered by
how near they are to what the model heard or saw: 1 is the nearest, and guessing gives {chance:g} on
average. In synthetic people the voice predicts the face by amounts that were invented.</p>
{synthetic}
<h2>Two real recordings</h2>
<p>Beside the face that the models make of each voice are the synthetic faces of the gallery that
lie nearest to it. None of them shows the person who speaks.</p>
{recorded}
<h2>What this cannot tell</h2>
<ul>
<li>Who somebody is, or what somebody looks like: nobody's face can be had from a voice.</li>
<li>Sex, age, origin, health or character of anybody. Do not use it to judge or to identify
people.</li>
<li>How well models trained on real people do. These learnt from pictures and voices that a program
made up.</li>
</ul>
<p>Models: {models}.</p>
</body>
</html>
"""


def write(faces: Faces, path: Path) -> None:
    """Write the page, all or nothing; it needs no other file and no address."""
    text = PAGE.format(
        people=faces.people,
        chance=(faces.people + 1) / 2,
        synthetic="\n".join(part for one in faces.synthetic for part in person(one, faces.people)),
        recorded="\n".join(part for other in faces.recorded for part in recording(other)),
        models=escape("; ".join(faces.made_by.values())),
    )
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def person(one: Synthetic, people: int) -> Iterator[str]:
    """Yield the HTML of a synthetic person."""
    yield f"<h3>{escape(one.person.name.replace('_', ' '))}</h3>"
    yield audio(one.person.clip)
    yield '<div class="people">'
    yield figure(file_uri(one.person.photograph), "photograph")
    yield figure(file_uri(one.person.face), "true face, seen from the front")
    place = f"place {one.place_by_photograph} of {people}"
    yield figure(face_uri(one.from_photograph), f"from the photograph: {place}")
    place = f"place {one.place_by_voice} of {people}"
    yield figure(face_uri(one.from_voice), f"from the voice: {place}")
    yield "</div>"


def recording(other: Recorded) -> Iterator[str]:
    """Yield the HTML of a real recording."""
    yield f"<h3>{escape(other.about)}</h3>"
    yield audio(other.clip)
    yield '<div class="people">'
    yield figure(face_uri(other.from_voice), "from the voice")
    for number, near in enumerate(other.nearest, start=1):
        name = near.name.replace("_", " ")
        yield figure(file_uri(near.face), f"synthetic face number {number} by distance: {name}")
    yield "</div>"


def figure(uri: str, caption: str) -> str:
    """Return the HTML of a picture and what it shows."""
    words = escape(caption)
    return f'<figure><img src="{uri}" alt="{words}"><figcaption>{words}</figcaption></figure>'


def audio(path: Path) -> str:
    """Return the HTML of a recording that can be played."""
    return f'<audio controls preload="metadata" src="{file_uri(path)}"></audio>'


def file_uri(path: Path) -> str:
    """Return a file as a data URI."""
    return data_uri(path.read_bytes(), TYPES[path.suffix])


def face_uri(face: Face) -> str:
    """Return a face as a data URI of a PNG, marked as synthetic."""
    file = io.BytesIO()
    face.pil().save(file, format="PNG", pnginfo=marks(face.made_by))
    return data_uri(file.getvalue(), "image/png")


def data_uri(data: bytes, kind: str) -> str:
    """Return bytes as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
