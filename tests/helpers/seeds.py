"""Small valid weight files of every format, to damage: run as a script to write them."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np

KERNEL = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7
BIAS = np.arange(4, dtype=np.float32)


def legacy(
    path: Path, below: str = "", libver: str = "earliest", only: str = "", **storage: object
) -> None:
    """Write a legacy file; `storage` holds for the arrays whose names contain `only`."""
    with h5py.File(path, "w", libver=libver) as file:
        root = file.create_group(below) if below else file
        root.attrs["layer_names"] = np.array([b"conv", b"pool", b"fc"])
        for layer in ("conv", "pool", "fc"):
            group = root.create_group(layer)
            names = [] if layer == "pool" else [f"{layer}/kernel:0", f"{layer}/bias:0"]
            group.attrs["weight_names"] = np.array([name.encode() for name in names], "S16")
            for name, value in zip(names, (KERNEL, BIAS), strict=False):
                group.create_dataset(name, data=value, **(storage if only in name else {}))


def keras3(
    path: Path, layers: tuple[str, ...], named: bool = True, libver: str = "earliest"
) -> None:
    with h5py.File(path, "w", libver=libver) as file:
        for layer in layers:
            group = file.create_group(f"layers/{layer}/vars")
            group["0"], group["1"] = KERNEL, BIAS
            if named:
                group.attrs["name"] = f"my_{layer}"
        file.create_group("optimizer/vars")["0"] = np.array(3)


def archive(path: Path, method: int, weights: Path, named: bool) -> None:
    layers = [{"class_name": "Conv2D", "config": {"name": n}} for n in ("first", "second")]
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("metadata.json", "{}")
        file.writestr("config.json", json.dumps({"config": {"layers": layers}}))
        file.write(weights, "model.weights.h5")


def tensorflow_js(folder: Path) -> None:
    weights = [
        {"name": "conv/filters", "shape": [2, 3, 4], "dtype": "float32"},
        {
            "name": "conv/bias",
            "shape": [4],
            "dtype": "float32",
            "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1.25},
        },
        {
            "name": "fc",
            "shape": [3],
            "dtype": "float32",
            "quantization": {"dtype": "uint16", "scale": 1e-3, "min": 0},
        },
        {"name": "split", "shape": [2], "dtype": "float32"},
    ]
    content = KERNEL.tobytes() + bytes([1, 2, 3, 255]) + b"\x01\x00\xff\xff\x03\x00"
    content += np.array([1.5, -2.5], "<f4").tobytes()
    (folder / "w.bin").write_bytes(content[:-6])
    (folder / "w2.bin").write_bytes(content[-6:])
    manifest = [{"paths": ["w.bin", "w2.bin"], "weights": weights}]
    (folder / "w-weights_manifest.json").write_text(json.dumps(manifest))


def torch_and_safetensors(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    state = {
        "conv.weight": torch.tensor(KERNEL),
        "conv.bias": torch.tensor(BIAS),
        "bn.num_batches_tracked": torch.tensor(3),
    }
    torch.save(state, folder / "state.pth")
    nested = {"epoch": 3, "state_dict": state, "lr": [0.1, None, True], "name": ("a", {"b": 1.5})}
    torch.save(nested, folder / "nested.pth", pickle_protocol=3)
    torch.save(nested, folder / "ancient.pt", _use_new_zipfile_serialization=False)
    save_file(state, folder / "plain.safetensors", {"note": "x"})
    kinds = (torch.float16, torch.bfloat16, torch.float64)
    other = {str(kind): torch.tensor(KERNEL).to(kind) for kind in kinds}
    save_file(other, folder / "other.safetensors")
    views = {"neg": torch._neg_view(torch.tensor(BIAS)), "turned": torch.tensor(KERNEL).mT}
    torch.save({"model": {**other, **views}, "ema": state}, folder / "views.pt")


def write(folder: Path) -> list[Path]:
    """Write all seed files and return those to open."""
    legacy(folder / "legacy.h5")
    legacy(folder / "whole.h5", below="model_weights")
    legacy(folder / "latest.h5", libver="latest")
    legacy(folder / "big.h5", dtype=">f4")
    for number, storage in enumerate(
        (
            {"compression": "gzip", "shuffle": True, "fletcher32": True},
            {"compression": "gzip"},
            {"chunks": True},
        )
    ):
        legacy(folder / f"packed{number}.h5", **storage)  # type: ignore[arg-type]
        legacy(folder / f"packed_latest{number}.h5", libver="latest", **storage)  # type: ignore
    keras3(folder / "named.weights.h5", ("conv2d", "conv2d_1"))
    keras3(folder / "latest.weights.h5", ("conv2d", "conv2d_1"), libver="latest")
    keras3(folder / "old.weights.h5", ("conv2d", "conv2d_1"), named=False)
    archive(folder / "stored.keras", zipfile.ZIP_STORED, folder / "old.weights.h5", False)
    archive(folder / "deflated.keras", zipfile.ZIP_DEFLATED, folder / "named.weights.h5", True)
    (folder / "tfjs").mkdir()
    tensorflow_js(folder / "tfjs")
    torch_and_safetensors(folder)
    return [
        *sorted(path for path in folder.iterdir() if path.is_file()),
        folder / "tfjs" / "w-weights_manifest.json",
    ]


if __name__ == "__main__":
    write(Path(sys.argv[1]))
