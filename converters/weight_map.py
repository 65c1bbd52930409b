"""Weight maps: tables of rules that pair every array of a file with one tensor of a network."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from vox2face.converters.ops import OPS, Array
from vox2face.core.errors import MappingError, UsageError

# What wrappers put in front of all names: nn.DataParallel, torch.compile, a module of one's own
PREFIXES = re.compile(r"(?:(?:module|_orig_mod|model)\.)*")

# How arrays without names may lie; PyTorch flattens a map channels first.
NUMBERED = ("copy", "oi11_to_oi", "chw_columns_to_oihw_7x7")

Reference = Callable[[Mapping[str, Array], Array], Iterable[tuple[str, Array]]]


@dataclass(frozen=True)
class StoredArray:
    """One weight array as a file declares it: not read yet."""

    layer: str
    name: str
    path: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """The size of the values as float32."""
        return 4 * prod(self.shape)


@dataclass(frozen=True)
class Rule:
    """One array `source` ("layer/weight") of `shape` becomes the tensor `target` through `op`."""

    source: str
    target: str
    op: str
    shape: tuple[int, ...]

    @property
    def target_shape(self) -> tuple[int, ...]:
        """The tensor's shape, from the array's shape and the operation."""
        return OPS[self.op].forward(np.broadcast_to(np.float32(0), self.shape)).shape


@dataclass(frozen=True)
class Layout:
    """How PyTorch files may hold a network: their names of its layers, their order of its values.

    `names` are the file's layers by those of the torch module where they differ, `ops` the
    operations by tensor where values do not lie as in the module. `like` says in words whose files
    these are, if not those of the weight map, and `note` what people are told about such a file.
    """

    like: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    ops: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    def name(self, tensor: str) -> str:
        """Return the file's name of a tensor of the torch module."""
        layer, dot, weight = tensor.rpartition(".")
        return f"{self.names.get(layer, layer)}{dot}{weight}"

    def rule(self, rule: Rule, shapes: Mapping[str, tuple[int, ...]]) -> Rule:
        """Return the rule for a tensor as a file holds it that has arrays of these shapes.

        Matrices may be there as 1x1 convolutions, as in deepface's vgg_face_weights.pth.
        """
        name, shape = self.name(rule.target), rule.target_shape
        as_convolution = shapes.get(name) == (*shape, 1, 1)
        op = self.ops.get(rule.target, "oi11_to_oi" if as_convolution else "copy")
        held = OPS[op].inverse(np.broadcast_to(np.float32(0), shape)).shape
        return Rule("/".join(split_name(name, ".")), rule.target, op, held)


@dataclass(frozen=True)
class WeightMap:
    """A bijection between a file's arrays and a network's tensors.

    `match` is "order" (arrays pair with rules by position, and the full list of shapes must be
    equal: for files whose names are irregular) or "name"; `unnamed` is how files pair that do not
    name their layers, None if positions would not be safe. `ignore` lists layers that may be in
    the file and are not used, `optional` those that may be missing, all together. `renames` are
    (pattern, replacement) by which other names for "layer/weight" become those of the rules, in
    order. `endings` are (pattern, output activation): a name in the file that matches tells what
    the network ends in. `layouts` are those of PyTorch files of the same network. `like` says in
    words whose files these are, `note` what people are told about one. `reference` is the
    independent forward pass on the file's own arrays, which the proof compares the network with:
    called with {"layer/weight": array} and an input, it yields (layer, activation), maps as NHWC;
    None where the file is PyTorch's, since all values are then copied bit for bit. `original`
    builds the network in Keras: called with the module `keras`, it returns the model and
    {layer: output}.
    """

    like: str
    match: str
    rules: tuple[Rule, ...]
    ignore: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    unnamed: str | None = None
    renames: tuple[tuple[str, str], ...] = ()
    endings: tuple[tuple[str, str], ...] = ()
    layouts: tuple[Layout, ...] = (Layout(),)
    note: str = ""
    reference: Reference | None = None
    original: Callable[..., tuple[Any, dict[str, Any]]] | None = None

    def __post_init__(self) -> None:
        """Raise `UsageError`, with all that is wrong, for a table that can fit no file."""
        problems = list(_mistakes(self.rules))
        if self.match not in PAIRINGS or self.unnamed not in (None, *PAIRINGS):
            known = " or ".join(map(repr, PAIRINGS))
            problems.append(f"match={self.match!r}, unnamed={self.unnamed!r}: use {known}")
        if problems:
            more = f"; and {len(problems) - 8} more" if len(problems) > 8 else ""
            told = "; ".join(problems[:8]) + more
            raise UsageError(f"The weight map of {self.like} cannot be used: {told}.")

    def pair(
        self, arrays: Sequence[StoredArray], named: bool = True
    ) -> list[tuple[Rule, StoredArray]]:
        """Return (rule, array) for every rule, or raise `MappingError` with all problems."""
        match = self.match if named or self.match == "order" else self.unnamed
        if match is None:
            raise MappingError(
                f"The file does not name its layers, and those of {self.like} cannot be told apart "
                "by position: give a file that keeps the names, such as .keras, .weights.h5 of "
                "Keras 3.6 or newer, or a state dict of PyTorch."
            )
        used = [self.renamed(array) for array in arrays if array.layer not in self.ignore]
        pairs, problems = PAIRINGS[match](self.expected(used, match), used)
        problems += [
            f"{rule.source} has shape {array.shape} in the file, expected {rule.shape}"
            for rule, array in pairs
            if array.shape != rule.shape
        ]
        if problems:
            raise MappingError(summary(self.like, problems))
        return pairs

    def expected(self, arrays: Sequence[StoredArray], match: str) -> tuple[Rule, ...]:
        """Return the rules for a file: without the optional layers if it has none of them."""
        required = self.required()
        if match == "order":  # names may be irregular
            return self.rules if len(arrays) > len(required) else required
        return self.rules if {array.layer for array in arrays} & self.optional else required

    def renamed(self, array: StoredArray) -> StoredArray:
        """Return an array under the name that the rules know."""
        name = f"{array.layer}/{array.name}"
        for pattern, replacement in self.renames:
            name = re.sub(pattern, replacement, name)
        layer, weight = name.rsplit("/", 1)
        return replace(array, layer=layer, name=weight) if self.renames else array

    def ending(self, arrays: Sequence[StoredArray]) -> str:
        """Return what the names in a file tell that the network ends in; "" if they do not."""
        names = [f"{array.layer}/{array.name}" for array in arrays]
        told = (end for pattern, end in self.endings for n in names if re.search(pattern, n))
        return next(told, "")

    def required(self) -> tuple[Rule, ...]:
        """Return the rules of the layers that every file has."""
        return tuple(
            r
            for r, layer in zip(self.rules, layers_of(self.rules), strict=True)
            if layer not in self.optional
        )

    def laid_out(self, arrays: Sequence[StoredArray], named: bool = True) -> WeightMap:
        """Return the map in the layout of a file: Keras's, or the likeliest of PyTorch's.

        Arrays that are not `named` come in the order in which they are used.
        """
        if not named and self.match == "order":
            return self._numbered(arrays)
        shapes = {array.path: array.shape for array in arrays}
        maps = [
            self.torch_layout(layout, shapes)
            for layout in self.layouts
            if any(layout.name(rule.target) in shapes for rule in self.rules)
        ]
        return max(maps, key=lambda table: table.known(shapes), default=self)

    def _numbered(self, arrays: Sequence[StoredArray]) -> WeightMap:
        """Return the map for arrays without names, if each has a shape that PyTorch holds it in."""
        rules = []
        for rule, array in zip(self.expected(arrays, "order"), arrays, strict=False):
            target = np.broadcast_to(np.float32(0), rule.target_shape)
            ops = (op for op in NUMBERED if _inverse_shape(op, target) == array.shape)
            if (op := next(ops, None)) is None:
                return self
            source = "/".join(split_name(rule.target, "."))
            rules.append(Rule(source, rule.target, op, array.shape))
        return replace(self, rules=tuple(rules)) if len(rules) == len(arrays) else self

    def torch_layout(self, layout: Layout, shapes: Mapping[str, tuple[int, ...]]) -> WeightMap:
        """Return the map for PyTorch files of a layout that have arrays of these shapes."""
        rules = tuple(layout.rule(rule, shapes) for rule in self.rules)
        layers = zip(layers_of(self.rules), layers_of(rules), strict=True)
        return replace(
            self,
            like=layout.like or self.like,
            match="name",
            rules=rules,
            optional=frozenset(new for old, new in layers if old in self.optional),
            note=layout.note,
        )

    def knows(self, arrays: Sequence[StoredArray]) -> bool:
        """Whether any name of a PyTorch file is one of this network, in any layout."""
        paths = {array.path for array in arrays}
        return any(
            layout.name(rule.target) in paths for layout in self.layouts for rule in self.rules
        )

    def known(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int]:
        """Return how many of a PyTorch file's names are known, and of how many the shapes too."""
        held = [(shapes.get(_tensor_name(rule.source)), rule.shape) for rule in self.rules]
        return sum(got is not None for got, _ in held), sum(got == want for got, want in held)

    def invert(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """Return the file's arrays by source name, from a network's tensors."""
        optional = {r.target for r in self.rules} - {r.target for r in self.required()}
        rules = self.rules if optional & tensors.keys() else self.required()
        missing = sorted({r.target for r in rules} - tensors.keys())
        extra = sorted(tensors.keys() - {r.target for r in rules})
        problems = [f"the tensor {name} is missing" for name in missing]
        problems += [f"the tensor {name} is not part of the network" for name in extra]
        problems += [
            f"{rule.target} has shape {tensors[rule.target].shape}, expected {rule.target_shape}"
            for rule in rules
            if rule.target in tensors and tensors[rule.target].shape != rule.target_shape
        ]
        if problems:
            raise MappingError(summary(self.like, problems))
        return {r.source: OPS[r.op].inverse(tensors[r.target]) for r in rules}


def _inverse_shape(op: str, target: Array) -> tuple[int, ...] | None:
    """Return the shape of an array that an operation makes a tensor of, if it fits."""
    try:
        return OPS[op].inverse(target).shape
    except (ValueError, IndexError):
        return None


def _mistakes(rules: Sequence[Rule]) -> Iterator[str]:
    """Yield what keeps rules from being a bijection."""
    for key in ("source", "target"):
        counts = Counter(getattr(rule, key) for rule in rules)
        yield from (f"{n} rules have the {key} {name!r}" for name, n in counts.items() if n > 1)
    for rule in rules:
        if rule.op not in OPS:
            yield f"{rule.target} has the op {rule.op!r}: use one of {', '.join(OPS)}"
            continue
        try:
            _ = rule.target_shape
        except (ValueError, IndexError, TypeError) as error:
            yield f"{rule.target}: {rule.op} does not apply to the shape {rule.shape} ({error})"


def summary(like: str, problems: Sequence[str]) -> str:
    """Return one message for all problems of a file."""
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    told = [problem if len(problem) < 200 else f"{problem[:200]}..." for problem in problems[:8]]
    if len(problems) > len(told):
        told.append(f"and {len(problems) - len(told)} more")
    return f"These are not the weights of {like} ({count}): {'; '.join(told)}."


def bare(arrays: Sequence[StoredArray]) -> tuple[str, tuple[StoredArray, ...]]:
    """Return what wrappers put in front of all names, "" if nothing, and the arrays without it."""
    shared = os.path.commonprefix([array.path for array in arrays])  # noqa: RUF071 no paths of files
    found = PREFIXES.match(shared)
    prefix = found[0] if found else ""
    return prefix, tuple(without(prefix, array) for array in arrays) if prefix else tuple(arrays)


def without(prefix: str, array: StoredArray) -> StoredArray:
    """Return an array as if its full name lacked a prefix."""
    path = array.path.removeprefix(prefix)
    layer, weight = split_name(path, ".")
    return replace(array, layer=layer, name=weight, path=path)


def split_name(path: str, separators: str) -> tuple[str, str]:
    """Split a full name at its last separator: "a.b.weight" -> ("a.b", "weight").

    A name without one is a layer with one array, called "weights".
    """
    cut = max(path.rfind(separator) for separator in separators)
    return (path[:cut], path[cut + 1 :]) if cut > 0 else (path, "weights")


def _tensor_name(source: str) -> str:
    """Return the full name of a tensor from "layer/weight"; undoes `split_name`."""
    return source.removesuffix("/weights").replace("/", ".")


def key(name: str) -> str:
    """Return a name under which "conv1/7x7_s2/bn" and "conv1_7x7_s2_bn" are one.

    Keras 3 allows no slash in the name of a layer, so copies made with it have underscores.
    """
    return name.replace("/", "_")


def canonical(array: StoredArray) -> str:
    """Return "layer/weight" of an array whatever generation of Keras named it."""
    weight = array.name.rsplit("/", 1)[-1].partition(":")[0]
    for suffix, name in (("_W", "kernel"), ("_b", "bias")):  # Keras 1: conv1_1_W, conv1_1_b
        if weight == array.layer + suffix:
            weight = name
    return f"{array.layer}/{weight}"


def _pair_by_name(
    rules: Sequence[Rule], arrays: Sequence[StoredArray]
) -> tuple[list[tuple[Rule, StoredArray]], list[str]]:
    """Pair by "layer/weight"; what is missing, unknown or doubled is a problem."""
    by_name = {key(canonical(array)): array for array in arrays}
    known = {key(rule.source): rule for rule in rules}
    counts = Counter(key(canonical(array)) for array in arrays)
    problems = [
        f"{canonical(by_name[name])} is in the file {n} times"
        for name, n in counts.items()
        if n > 1
    ]
    problems += [f"{rule.source} is missing" for name, rule in known.items() if name not in by_name]
    problems += [
        f"{array.path} {array.shape} is not part of the network"
        for name, array in by_name.items()
        if name not in known
    ]
    return [(rule, by_name[name]) for name, rule in known.items() if name in by_name], problems


def _pair_by_order(
    rules: Sequence[Rule], arrays: Sequence[StoredArray]
) -> tuple[list[tuple[Rule, StoredArray]], list[str]]:
    """Pair by position; the names only serve to refuse a file whose order contradicts them."""
    problems = []
    if len(arrays) != len(rules):
        problems.append(f"the file has {len(arrays)} arrays, expected are {len(rules)}")
    layers = list(dict.fromkeys(array.layer for array in arrays))
    wanted = list(dict.fromkeys(layers_of(rules)))
    if set(layers) == set(wanted) and layers != wanted:
        moved = next(
            i for i, pair in enumerate(zip(layers, wanted, strict=True)) if len({*pair}) > 1
        )
        problems.append(
            f"the layers are in a wrong order: {layers[moved]} comes where {wanted[moved]} belongs"
        )
    for array, rule in zip(arrays, rules, strict=False):
        got, want = canonical(array).rsplit("/", 1)[-1], rule.source.rsplit("/", 1)[-1]
        if {got, want} == {"kernel", "bias"}:
            problems.append(f"{array.path} comes where the {want} of {rule.source} belongs")
    return list(zip(rules, arrays, strict=False)), problems


def layers_of(rules: Iterable[Rule]) -> list[str]:
    """Return the layer of every rule."""
    return [rule.source.rsplit("/", 1)[0] for rule in rules]


PAIRINGS = {"name": _pair_by_name, "order": _pair_by_order}
