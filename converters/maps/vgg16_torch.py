"""How PyTorch files hold VGG-Face beside the torch module's own names and shapes.

Sources: Kacper-Pietkun/Speech-to-face, src/models/face_encoder.py and
src/tensorflow_to_pytroch/VGGFace16_rcmalli.py; vgg_face_dag.py of S. Albanie's pytorch-mcn.
"""

from __future__ import annotations

from vox2face.converters.weight_map import Layout

# fmt: off
# Torch module, VGGFace_serengil.pt, VGGFace16_rcmalli.pt
LAYERS = (
    ("conv1_1", "layer1.1",  "layer1.0"),
    ("conv1_2", "layer2.1",  "layer2.0"),
    ("conv2_1", "layer3.1",  "layer3.0"),
    ("conv2_2", "layer4.1",  "layer4.0"),
    ("conv3_1", "layer5.1",  "layer5.0"),
    ("conv3_2", "layer6.1",  "layer6.0"),
    ("conv3_3", "layer7.1",  "layer7.0"),
    ("conv4_1", "layer8.1",  "layer8.0"),
    ("conv4_2", "layer9.1",  "layer9.0"),
    ("conv4_3", "layer10.1", "layer10.0"),
    ("conv5_1", "layer11.1", "layer11.0"),
    ("conv5_2", "layer12.1", "layer12.0"),
    ("conv5_3", "layer13.1", "layer13.0"),
    ("fc6",     "layer14.0", "layer14.1"),
    ("fc7",     "layer15.0", "layer15.0"),
    ("fc8",     "layer16.1", "layer16.0"),
)

# fmt: on

# Shapes cannot tell the order of a matrix's columns, names do: with the torch module's names,
# layer14 not being among them, it is that in which PyTorch flattens a map.
FC6_AS_MATRIX = Layout(
    ops={"fc6.weight": "chw_columns_to_oihw_7x7"},
    note="fc6 is a matrix, whose columns are taken to be in PyTorch's order (channel, row, "
    "column); a conversion from MatConvNet, as vgg_face_dag.pth, needs the preset vggface-original "
    "to compute what its authors' network does.",
)
SPEECH_TO_FACE_SERENGIL = Layout(
    like="VGGFace_serengil of the Speech-to-face repo",
    names={layer: name for layer, name, _ in LAYERS},
)

# layer14.1 is the Speech-to-face repo's, whose converter transposes the matrix of Keras and leaves
# its columns in the order in which Keras flattens a map, so that its own network is wrong there.
SPEECH_TO_FACE_RCMALLI = Layout(
    like="VGGFace16_rcmalli of the Speech-to-face repo",
    names={layer: name for layer, _, name in LAYERS},
    ops={"fc6.weight": "hwc_columns_to_oihw_7x7"},
    note="the columns of layer14.1, which is fc6, are in Keras's order (row, column, channel), "
    "although PyTorch flattens channels first: put in PyTorch's order.",
)
