"""Run ONNX files on ONNX Runtime, fully optimised, on the CPU or a GPU."""

from __future__ import annotations

import contextlib
import ctypes
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vox2face.converters.ops import Array
from vox2face.core import extras
from vox2face.core.entry import TensorSpec
from vox2face.core.errors import BundleError, UsageError, Vox2FaceError
from vox2face.core.files import text_of

if TYPE_CHECKING:
    import onnxruntime

# What ONNX Runtime calls the providers of a device, the first one preferred. TensorRT leaves what
# it does not know to CUDA, and CUDA leaves sizes and shapes to the CPU.
PROVIDERS = {
    "cpu": (),
    "cuda": ("CUDAExecutionProvider",),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider"),
}
LABELS = {"TensorrtExecutionProvider": "TensorRT", "CUDAExecutionProvider": "CUDA"}
CPU = "CPUExecutionProvider"
FLOAT = "tensor(float)"  # ONNX Runtime's word for float32
DEVICE = re.compile(r"(cpu)(?::0)?|(cuda|tensorrt)(?::(0|[1-9][0-9]{0,2}))?")
REASON = re.compile(r'(?<="device_id": )[^;\n]+|(CUDA|CUDNN|CUBLAS) failure [^;\n]+')
# Of CUDA, and of TensorRT
UNKNOWN = re.compile(r"(?:[Uu]nknown provider|Invalid TensorRT EP) option:? \"?(\w+)")
WARNING, FATAL = 2, 4  # severities of ONNX Runtime's log; WARNING is its default


def _session_options() -> onnxruntime.SessionOptions:
    """Return options for a graph that is optimised for speed."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Weights then lie in memory of their own size, not in an arena that grows by doubling.
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    return options


def session(
    path: Path, device: str = "cpu", provider_options: Mapping[str, Any] | None = None
) -> onnxruntime.InferenceSession:
    """Load an ONNX file, fully optimised, for "cpu", "cuda[:N]" or "tensorrt[:N]".

    On CUDA, TF32 is off, so that values agree with the CPU to float32 precision.
    `provider_options` go to the provider of the device, see `providers_for`. Raises `UsageError`
    for another device and where the installed ONNX Runtime lacks the provider, and
    `Vox2FaceError` where the provider does not start: the CPU never takes the place of a GPU.
    """
    if find_spec("onnxruntime") is None:
        extras.require("onnx", "backend='onnx'")
    import onnxruntime

    providers = providers_for(device, provider_options)
    names = [name for name, _ in providers if name != CPU]
    _require_offered(device, names)
    try:
        with _starting() if names else contextlib.nullcontext():
            made = onnxruntime.InferenceSession(
                text_of(path), _session_options(), providers=providers, enable_fallback=0
            )
    except Exception as error:  # ONNX Runtime's own exceptions share no base class
        if unknown := UNKNOWN.search(str(error)):
            raise UsageError(
                f"ONNX Runtime {onnxruntime.__version__} has no option {unknown[1]!r} for "
                f"{LABELS.get(names[0], 'the CPU')}: check the name in its documentation."
            ) from error
        if reason := fault(names, str(error)):
            raise _not_started(device, names, reason) from error
        reason = " ".join(str(error).split())
        raise Vox2FaceError(f"ONNX Runtime cannot load {path}: {reason:.300}") from error
    if absent := [name for name in names if name not in made.get_providers()]:
        raise _not_started(device, names, fault(absent) or "it gave no reason")
    return made


def require_interface(
    model: onnxruntime.InferenceSession,
    path: Path,
    source: TensorSpec,
    outputs: Iterable[TensorSpec],
) -> None:
    """Raise `BundleError` unless a session has this input and these outputs, in this order.

    Sizes have to agree where both sides state one.
    """
    for what, found, wanted in (
        ("input", model.get_inputs(), [source]),
        ("output", model.get_outputs(), list(outputs)),
    ):
        if len(found) != len(wanted) or not all(map(_same_tensor, found, wanted)):
            given = ", ".join(f"{arg.name} {arg.type} {tuple(arg.shape)}" for arg in found)
            expected = ", ".join(f"{spec.name} {FLOAT} {spec.shape}" for spec in wanted)
            raise BundleError(
                f"{path} has the {what} {given[:300]!r}, expected {expected!r}: delete it, and "
                "it will be exported again."
            )


def _same_tensor(found: onnxruntime.NodeArg, wanted: TensorSpec) -> bool:
    """Whether an input or output has the name, the type, the rank and the sizes of another."""
    named = (found.name, found.type, len(found.shape)) == (wanted.name, FLOAT, len(wanted.shape))
    return named and all(
        one == two
        for one, two in zip(found.shape, wanted.shape, strict=True)
        if isinstance(one, int) and isinstance(two, int)
    )


def providers_for(
    device: str, provider_options: Mapping[str, Any] | None = None
) -> list[tuple[str, dict[str, Any]]]:
    """Return the providers of a device with their options.

    `provider_options`, such as {"gpu_mem_limit": 2**31}, go to the first of them: TensorRT on
    "tensorrt", CUDA on "cuda". Raises `UsageError` for another device, and for options that it
    has not.
    """
    parts = DEVICE.fullmatch(device)
    if parts is None:
        raise UsageError(
            f"There is no device {device!r} for backend='onnx': use 'cpu', 'cuda' or 'tensorrt', "
            "or 'cuda:N' or 'tensorrt:N' for GPU number N."
        )
    kind, number = parts[1] or parts[2], int(parts[3] or 0)
    options: dict[str, dict[str, Any]] = {"CUDAExecutionProvider": {"use_tf32": "0"}}
    chosen = [(name, {"device_id": number, **options.get(name, {})}) for name in PROVIDERS[kind]]
    if provider_options:
        if not chosen:
            raise UsageError(
                f"device={device!r} takes no provider options, and {', '.join(provider_options)} "
                "is given: leave it out, or use 'cuda' or 'tensorrt'."
            )
        if "device_id" in provider_options:
            raise UsageError(f"The device says which GPU it is: use '{kind}:N', not device_id.")
        chosen[0][1].update({name: str(value) for name, value in provider_options.items()})
    return [*chosen, (CPU, {})]


def _require_offered(device: str, names: Sequence[str]) -> None:
    """Raise `UsageError` unless the installed ONNX Runtime was built with these providers."""
    import onnxruntime

    offered = onnxruntime.get_available_providers()
    for name in names:
        if name not in offered:
            raise UsageError(
                f"device={device!r} was asked for, but this ONNX Runtime has no {LABELS[name]}: "
                "run pip uninstall onnxruntime onnxruntime-gpu, then "
                f"{extras.installing('onnx-gpu')} (CUDA 13), or '.[onnx-gpu-cu12]' (CUDA 12)."
            )


@contextlib.contextmanager
def _starting() -> Iterator[None]:
    """Find CUDA and cuDNN where pip installs them, and keep the log of a failure to ourselves.

    What does not start, `session` tells in one sentence. ONNX Runtime does not tell the severity
    that it is set to, so that its default is restored.
    """
    import onnxruntime

    onnxruntime.set_default_logger_severity(FATAL)
    try:
        if hasattr(onnxruntime, "preload_dlls"):  # since 1.21; prints what is not there
            with contextlib.redirect_stdout(io.StringIO()):
                onnxruntime.preload_dlls()
        yield
    finally:
        onnxruntime.set_default_logger_severity(WARNING)


def fault(names: Sequence[str], error: str = "") -> str:
    """Return why providers do not start: a missing library, or CUDA's own words; "" if neither.

    ONNX Runtime writes the name of a missing library to its log only; the linker says it again.
    """
    import onnxruntime

    for name in names:
        kind = name.removesuffix("ExecutionProvider").lower()
        library = Path(onnxruntime.__file__).parent / f"capi/libonnxruntime_providers_{kind}.so"
        if library.is_file():
            try:
                ctypes.CDLL(str(library))
            except OSError as missing:
                return str(missing)
    found = REASON.search(error)
    return " ".join(found[0].split()) if found else ""


def _not_started(device: str, names: Sequence[str], reason: str) -> Vox2FaceError:
    """Return the error for a provider that is offered but does not start."""
    needs = "CUDA, cuDNN and TensorRT" if "TensorrtExecutionProvider" in names else "CUDA and cuDNN"
    return Vox2FaceError(
        f"device={device!r} was asked for, but ONNX Runtime could not start {LABELS[names[0]]} "
        f"({reason}): check the NVIDIA driver and the libraries of {needs}, or use device 'cpu'."
    )


def run(model: onnxruntime.InferenceSession, x: Array | np.ndarray[Any, Any]) -> list[Array]:
    """Run a session on its only input and return its outputs as float32 arrays."""
    return [value.numpy() for value in run_bound(model, x)]


def in_batches(model: onnxruntime.InferenceSession, x: np.ndarray[Any, Any]) -> dict[str, Array]:
    """Run a session on the first item alone, then on all; return both after another, by name."""
    names = [output.name for output in model.get_outputs()]
    pairs = zip(run(model, x[:1]), run(model, x), strict=True)
    return {name: np.concatenate(pair) for name, pair in zip(names, pairs, strict=True)}


def run_bound(
    model: onnxruntime.InferenceSession, x: np.ndarray[Any, Any] | onnxruntime.OrtValue
) -> list[onnxruntime.OrtValue]:
    """Run a session on its only input and leave its outputs where they were computed.

    An output can be the `x` of another session; on the same GPU it is not copied then. `.numpy()`
    brings one to the host.
    """
    binding = model.io_binding()
    (source,) = model.get_inputs()
    if isinstance(x, np.ndarray):
        binding.bind_cpu_input(source.name, x)
    else:
        binding.bind_ortvalue_input(source.name, x)
    cuda = model.get_provider_options().get("CUDAExecutionProvider")
    place = ("cpu", 0) if cuda is None else ("cuda", int(cuda.get("device_id", 0)))
    for output in model.get_outputs():
        binding.bind_output(output.name, *place)
    model.run_with_iobinding(binding)
    values: list[onnxruntime.OrtValue] = binding.get_outputs()
    return values
