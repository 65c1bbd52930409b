"""What all runs do with their phases."""

from __future__ import annotations

import torch
from torch import nn

from vox2face.train.trainer.run import mix


def test_weights_are_mixed_and_counters_stay() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    begun = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad():
        for value in network.state_dict().values():
            value += 4
    mix(network, begun, 0.25)
    for key, value in network.state_dict().items():
        moved = 1 if value.is_floating_point() else 4
        torch.testing.assert_close(value, begun[key] + moved)
