"""Follow a pickle of plain tensors without running it.

Only the few opcodes are understood that build such a thing, and of functions only those that
PyTorch itself names for it; they are looked at, never called. All else is refused by name.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from typing import Any

from vox2face.converters.readers.tensors import (
    ALLOWED,
    ORDERED_DICT,
    PARAMETER,
    STORAGES,
    TENSOR,
    Named,
    Storage,
    Tensor,
    refuse,
    tensor,
)
from vox2face.errors import WeightFileError

MAX_STEPS = 300_000  # a state dict of 10,000 tensors takes about 250,000


class Mark:
    """The place on the stack from which a later opcode collects."""


def followed(content: bytes | io.BytesIO) -> Any:
    """Return what a pickle describes: dicts, lists, tuples, text, numbers and `Tensor`.

    Of a stream, one pickle is read, and what follows it is left. Raises `WeightFileError` for
    anything else, naming it.
    """
    machine = Machine()
    stream = io.BytesIO(content) if isinstance(content, bytes) else content
    for steps, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if steps > MAX_STEPS:
            raise WeightFileError("its pickle is oversized")
        if opcode.name == "STOP":
            return machine.pop()
        step = STEPS.get(opcode.name)
        if step is None:
            raise WeightFileError(f"its pickle uses {opcode.name}, which plain tensors do not need")
        step(machine, argument)
    raise WeightFileError("its pickle has no end")


class Machine:
    """The stack and the memory of a pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memory: dict[int, Any] = {}

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Take a value off the stack."""
        if not self.stack or isinstance(self.stack[-1], Mark):
            raise WeightFileError("its pickle is damaged")
        return self.stack.pop()

    def collected(self) -> list[Any]:
        """Take all values down to the last mark."""
        found = []
        while self.stack and not isinstance(self.stack[-1], Mark):
            found.append(self.stack.pop())
        if not self.stack:
            raise WeightFileError("its pickle is damaged")
        self.stack.pop()
        return found[::-1]

    def refer(self, name: str) -> None:
        """Push a class or function if it is one of those that tensors need."""
        if name not in ALLOWED:
            spelled = name.replace(" ", ".")[:200]
            raise WeightFileError(
                f"it wants to run {spelled}, which is not needed for plain tensors: if you trust "
                "it, load it in PyTorch and save its state_dict() with torch.save"
            )
        self.push(Named(name))

    def refer_from_stack(self) -> None:
        """Push the class or function whose module and name are on the stack."""
        name, module = self.pop(), self.pop()
        self.refer(f"{module} {name}" if isinstance(name, str) and isinstance(module, str) else "?")

    def take(self, count: int) -> None:
        """Replace the last values by a tuple of them."""
        self.push(tuple(self.pop() for _ in range(count))[::-1])

    def extend(self, items: list[Any]) -> None:
        """Add values to the list on the stack."""
        self.last(list).extend(items)

    def assign(self, items: list[Any]) -> None:
        """Add keys and values, in turn, to the dict on the stack."""
        target = self.last(dict)
        if len(items) % 2 or not all(isinstance(key, (str, int)) for key in items[::2]):
            raise WeightFileError("its pickle has a key that is neither text nor a number")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if key in target:
                raise WeightFileError(f"its pickle has the key {str(key)[:200]!r} twice")
            target[key] = value

    def last(self, kind: type) -> Any:
        """Return the value on top of the stack, which has to be of a kind."""
        if not self.stack or type(self.stack[-1]) is not kind:
            raise WeightFileError("its pickle is damaged")
        return self.stack[-1]

    def recall(self, place: int) -> None:
        """Push a remembered value."""
        if place not in self.memory:
            raise WeightFileError("its pickle is damaged")
        self.push(self.memory[place])

    def remember(self, place: int | None = None) -> None:
        """Remember the value on top of the stack."""
        value = self.pop()
        self.push(value)
        self.memory[len(self.memory) if place is None else place] = value

    def build(self) -> None:
        """Drop attributes, such as a state dict's versions of modules."""
        self.pop()
        self.last(dict)

    def reduce(self) -> None:
        """Push what a call describes."""
        arguments, function = self.pop(), self.pop()
        if isinstance(function, Named) and isinstance(arguments, tuple):
            if function.name == ORDERED_DICT and arguments == ():
                return self.push({})
            if function.name == TENSOR and len(arguments) >= 4:
                return self.push(tensor(*arguments[:4]))
            if function.name == PARAMETER and arguments and isinstance(arguments[0], Tensor):
                return self.push(arguments[0])
        refuse("a call")

    def locate(self) -> None:
        """Push the storage that a persistent id names."""
        place = self.pop()
        if isinstance(place, tuple) and len(place) == 6 and place[5] is None:
            place = place[:5]  # before PyTorch 1.6 the last one could describe a part
        if isinstance(place, tuple) and len(place) == 5 and place[0] == "storage":
            _, kind, key, _, count = place
            known = isinstance(kind, Named) and kind.name in STORAGES
            if known and isinstance(key, str) and type(count) is int and count >= 0:
                return self.push(Storage(STORAGES[kind.name][0], key, count))
        refuse("a storage")


def constant(make: Callable[[], Any]) -> Callable[[Machine, Any], None]:
    """Return a step that pushes a new value."""
    return lambda machine, argument: machine.push(make())


# Opcode -> what it does with the machine and the opcode's argument.
STEPS: dict[str, Callable[[Machine, Any], None]] = {
    "PROTO": lambda machine, argument: None,
    "FRAME": lambda machine, argument: None,
    "MARK": constant(Mark),
    "NONE": constant(lambda: None),
    "NEWTRUE": constant(lambda: True),
    "NEWFALSE": constant(lambda: False),
    "EMPTY_DICT": constant(dict),
    "EMPTY_LIST": constant(list),
    "EMPTY_TUPLE": constant(tuple),
    "BININT": Machine.push,
    "BININT1": Machine.push,
    "BININT2": Machine.push,
    "LONG1": Machine.push,
    "BINFLOAT": Machine.push,
    "BINUNICODE": Machine.push,
    "SHORT_BINUNICODE": Machine.push,
    "BINPUT": Machine.remember,
    "LONG_BINPUT": Machine.remember,
    "MEMOIZE": lambda machine, argument: machine.remember(),
    "BINGET": Machine.recall,
    "LONG_BINGET": Machine.recall,
    "GLOBAL": Machine.refer,
    "STACK_GLOBAL": lambda machine, argument: machine.refer_from_stack(),
    "TUPLE": lambda machine, argument: machine.push(tuple(machine.collected())),
    "TUPLE1": lambda machine, argument: machine.take(1),
    "TUPLE2": lambda machine, argument: machine.take(2),
    "TUPLE3": lambda machine, argument: machine.take(3),
    "APPEND": lambda machine, argument: machine.extend([machine.pop()]),
    "APPENDS": lambda machine, argument: machine.extend(machine.collected()),
    "SETITEM": lambda machine, argument: machine.assign([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, argument: machine.assign(machine.collected()),
    "BUILD": lambda machine, argument: machine.build(),
    "REDUCE": lambda machine, argument: machine.reduce(),
    "BINPERSID": lambda machine, argument: machine.locate(),
}
