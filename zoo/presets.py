"""Preprocessing by name: how a picture becomes the array a face encoder was trained on.

A preset is part of a model. Never turn one silently into another: embeddings made with
different presets do not compare.
"""

from __future__ import annotations

from dataclasses import dataclass

from vox2face.core.errors import UsageError


@dataclass(frozen=True)
class FacePreset:
    """Fit an RGB uint8 picture into a square, resample, order colours, scale, subtract means.

    `fit` is "letterbox" (keep the aspect ratio, centre on black) or "stretch". `filter` is
    "cv2-linear" (OpenCV's bilinear: four neighbours, no antialiasing), "pil-bilinear" (Pillow's:
    antialiased, rounded to whole grey levels) or "pil-nearest". `mean` (0..255) is in the
    network's colour order and is subtracted before the multiplication by `scale`.
    """

    name: str
    color: str
    fit: str
    filter: str
    scale: float
    mean: tuple[float, float, float]
    cite: str

    @property
    def meaning(self) -> str:
        """What the values of a preprocessed picture are, in one phrase."""
        if any(self.mean):
            divided = f", divided by {1 / self.scale:g}" if self.scale != 1 else ""
            return f"{self.color}, 0..255 minus the means {self.mean}{divided}"
        return f"{self.color}, 0..{255 * self.scale:g}"


NO_MEAN = (0.0, 0.0, 0.0)
MEAN_V1_BGR = (93.5940, 104.7624, 129.1863)
MEAN_V1_RGB = (129.1863, 104.7624, 93.5940)
MEAN_V2_BGR = (91.4953, 103.8827, 131.0912)
MEAN_DLIB_RGB = (122.782, 117.001, 104.298)
BYTE = 1 / 255

# fmt: off
FACE_PRESETS: dict[str, FacePreset] = {preset.name: preset for preset in (
    # deepface modules/preprocessing.py, resize_image; colours as represent() feeds its networks
    FacePreset("deepface", "BGR", "letterbox", "cv2-linear", BYTE, NO_MEAN,
               "serengil/deepface deepface/modules/preprocessing.py"),
    # keras_vggface/utils.py, preprocess_input(version=1), after keras' load_img (nearest)
    FacePreset("keras-vggface-v1", "BGR", "stretch", "pil-nearest", 1.0, MEAN_V1_BGR,
               "rcmalli/keras-vggface keras_vggface/utils.py"),
    # keras_vggface/utils.py, preprocess_input(version=2), after keras' load_img (nearest)
    FacePreset("keras-vggface-v2", "BGR", "stretch", "pil-nearest", 1.0, MEAN_V2_BGR,
               "rcmalli/keras-vggface keras_vggface/utils.py"),
    # dlib's input_rgb_image; dlib cuts the aligned 150x150 chip out itself, here it is resized
    FacePreset("dlib", "RGB", "stretch", "pil-bilinear", 1 / 256, MEAN_DLIB_RGB,
               "davisking/dlib dlib/dnn/input.h"),
    # torchvision Resize((224, 224)) on a Pillow picture, then ToTensor
    FacePreset("speech-to-face", "RGB", "stretch", "pil-bilinear", BYTE, NO_MEAN,
               "Kacper-Pietkun/Speech-to-face data_preprocessing/image_face_embeddings.py"),
    # the colour order and means of the MatConvNet release of VGG-Face
    FacePreset("vggface-original", "RGB", "stretch", "pil-bilinear", 1.0, MEAN_V1_RGB,
               "Parkhi, Vedaldi, Zisserman: Deep Face Recognition, BMVC 2015"),
)}


# fmt: on


def face_preset(name: str) -> FacePreset:
    """Return the preset of this name; an unknown one raises a `UsageError` that lists them."""
    if name not in FACE_PRESETS:
        known = ", ".join(FACE_PRESETS)
        raise UsageError(f"There is no face preset {name!r}: choose one of {known}.")
    return FACE_PRESETS[name]
