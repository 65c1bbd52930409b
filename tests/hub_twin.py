"""The vox2face command with a network 16 times narrower, for tests of whole processes."""

from __future__ import annotations

import dataclasses
import sys
import types

from conftest import NARROW, narrow_rules, narrowed

from vox2face.cli import main
from vox2face.spec import Entry, resolve
from vox2face.zoo import registry

find = registry.entry


def narrow(name: str) -> Entry:
    """Return an entry as the fixture `twin` makes it."""
    full = find(name)
    table, module = resolve(full.table), types.ModuleType("narrow_twin")
    module.TABLE = dataclasses.replace(table, rules=narrow_rules(table.rules))  # type: ignore
    module.build = lambda: resolve(full.build)(**NARROW)  # type: ignore[attr-defined]
    sys.modules["narrow_twin"] = module
    outputs = tuple(
        dataclasses.replace(spec, shape=(spec.shape[0], narrowed([int(spec.shape[1])])[0]))
        for spec in full.outputs
    )
    return dataclasses.replace(
        full, table="narrow_twin:TABLE", build="narrow_twin:build", outputs=outputs
    )


if __name__ == "__main__":
    registry.entry = narrow
    main()
