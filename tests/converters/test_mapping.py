"""Layout operations invert exactly; weight maps are bijections and report all problems."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from helpers.twins import adapted
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vox2face.converters.maps import vggface_rcmalli, vggface_serengil, weight_map
from vox2face.converters.ops import OPS, fill
from vox2face.converters.weight_map import Rule, StoredArray, WeightMap
from vox2face.core.errors import MappingError
from vox2face.zoo import registry
from vox2face.zoo.catalog import ENTRIES

SHAPES = {
    "copy": st.tuples(st.integers(1, 9)),
    "hwio_to_oihw": st.tuples(*[st.integers(1, 4)] * 2, *[st.integers(1, 9)] * 2),
    "hwio_to_oi": st.tuples(st.just(1), st.just(1), *[st.integers(1, 9)] * 2),
    "oi11_to_oi": st.tuples(*[st.integers(1, 9)] * 2, st.just(1), st.just(1)),
    "io_to_oi": st.tuples(*[st.integers(1, 9)] * 2),
    "hwc_rows_to_oihw_7x7": st.tuples(st.integers(1, 5).map(lambda c: 49 * c), st.integers(1, 9)),
    "chw_columns_to_oihw_7x7": st.tuples(
        st.integers(1, 9), st.integers(1, 5).map(lambda c: 49 * c)
    ),
    "hwc_columns_to_oihw_7x7": st.tuples(
        st.integers(1, 9), st.integers(1, 5).map(lambda c: 49 * c)
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("name", OPS)
@given(data=st.data())
def test_every_operation_is_undone_bit_for_bit_by_its_inverse(
    name: str, data: st.DataObject
) -> None:
    values = data.draw(arrays(np.float32, SHAPES[name]))
    there = np.empty(OPS[name].forward(values).shape, np.float32)
    fill(there, OPS[name].forward(values))
    back = OPS[name].inverse(there)
    assert back.shape == values.shape
    assert np.array_equal(np.ascontiguousarray(back).view("u4"), values.view("u4"))


@pytest.mark.parametrize("shape", [(3, 3, 40, 96), (7, 7, 512, 64), (1, 1, 700, 300), (5, 2, 3, 7)])
def test_fill_equals_numpys_own_copy(shape: tuple[int, ...]) -> None:
    source = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    view = source.transpose(3, 2, 0, 1)
    target = np.empty(view.shape, np.float32)
    fill(target, view)
    assert np.array_equal(target, view)


def test_fc6_of_rcmalli_goes_from_hwc_to_chw() -> None:
    rows = np.arange(49 * 2, dtype=np.float32).reshape(-1, 1)
    kernel = OPS["hwc_rows_to_oihw_7x7"].forward(rows)
    columns = OPS["hwc_columns_to_oihw_7x7"].forward(rows.T)
    straight = OPS["chw_columns_to_oihw_7x7"].forward(rows.T)
    for h, w, c in np.ndindex(7, 7, 2):
        assert kernel[0, c, h, w] == columns[0, c, h, w] == (h * 7 + w) * 2 + c
        assert straight[0, c, h, w] == (c * 7 + h) * 7 + w


@given(st.data())
def test_mapping_then_inverse_is_the_identity(data: st.DataObject) -> None:
    table = data.draw(st.sampled_from([vggface_serengil.TABLE, vggface_rcmalli.TABLE]))
    sizes = {64: 2, 128: 3, 256: 2, 512: 3, 4096: 5, 2622: 4, 25088: 147}
    rules = tuple(
        dataclasses.replace(r, shape=tuple(sizes.get(n, n) for n in r.shape)) for r in table.rules
    )
    small = dataclasses.replace(table, rules=rules)
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 30)))
    original = {r.source: rng.standard_normal(r.shape).astype(np.float32) for r in rules}
    tensors = {
        rule.target: np.ascontiguousarray(OPS[rule.op].forward(original[array.path]))
        for rule, array in small.pair(declared(rules))
    }
    back = small.invert(tensors)
    assert back.keys() == original.keys()
    assert all(np.array_equal(back[name], original[name]) for name in original)


def declared(rules: tuple[Rule, ...]) -> list[StoredArray]:
    return [
        StoredArray(*rule.source.rsplit("/", 1), path=rule.source, shape=rule.shape)  # type: ignore
        for rule in rules
    ]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.name)
def test_tables_fill_the_network_exactly(entry) -> None:  # type: ignore[no-untyped-def]
    import torch

    table = weight_map(entry)
    with torch.device("meta"):
        network = registry.build(entry)
    wanted = {
        name: tuple(tensor.shape)
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")  # counts in training, no weight
    }
    if entry.any_size:  # these come in any width
        table = adapted(table, wanted)
    assert {rule.target: rule.target_shape for rule in table.rules} == wanted
    assert len({rule.source for rule in table.rules}) == len(table.rules)
    assert sum(int(np.prod(rule.shape)) for rule in table.rules) == entry.parameters


def problems(table: WeightMap, arrays: list[StoredArray]) -> str:
    with pytest.raises(MappingError) as caught:
        table.pair(arrays)
    return str(caught.value)


@pytest.mark.parametrize(
    "table", [vggface_serengil.TABLE, vggface_rcmalli.TABLE], ids=lambda t: t.match
)
def test_missing_extra_and_misshaped_arrays_are_reported_together(table: WeightMap) -> None:
    arrays = declared(table.rules)
    arrays[2] = dataclasses.replace(arrays[2], shape=(3, 3, 64, 65))
    arrays[5] = dataclasses.replace(arrays[5], shape=(1,))
    told = problems(table, [*arrays, StoredArray("fc9", "kernel", "fc9/kernel", (1,))])
    assert "(3 problems)" in told
    for words in ("(3, 3, 64, 65)", "(3, 3, 64, 64)", "(128,)"):
        assert words in told
    assert "problem" in problems(table, arrays[:-1])


def test_serengil_names_do_not_matter_but_their_order_does() -> None:
    table = vggface_serengil.TABLE
    arrays = declared(table.rules)
    irregular = [
        dataclasses.replace(a, name=f"{a.layer}_2/{a.name}:0", path=f"{a.layer}/{a.layer}_2")
        for a in arrays
    ]
    anonymous = [dataclasses.replace(a, layer=f"conv2d_{i // 2}") for i, a in enumerate(arrays)]
    for renamed in (irregular, anonymous):
        assert [array for _, array in table.pair(renamed)] == renamed
    swapped = [*arrays[:22], *arrays[24:26], *arrays[22:24], *arrays[26:]]  # two equal shapes
    assert "wrong order: conv5_3 comes where conv5_2 belongs" in problems(table, swapped)
    assert "comes where the kernel" in problems(table, [arrays[1], arrays[0], *arrays[2:]])


def test_rcmalli_pairs_by_name_in_any_order() -> None:
    table = vggface_rcmalli.TABLE
    arrays = declared(table.rules)
    pairs = table.pair(arrays[::-1])
    assert [(rule.source, array.path) for rule, array in pairs] == [
        (rule.source, rule.source) for rule in table.rules
    ]
    keras1 = [
        dataclasses.replace(a, name=a.layer + {"kernel": "_W", "bias": "_b"}[a.name])
        for a in arrays
    ]
    assert len(table.pair(keras1)) == 32
    renamed = dataclasses.replace(arrays[0], layer="convolution")
    told = problems(table, [renamed, *arrays[1:]])
    assert "conv1_1/kernel is missing" in told
    assert "is not part of the network" in told


def test_inverse_reports_tensors_that_do_not_fit() -> None:
    with pytest.raises(MappingError, match=r"conv1_1\.bias is missing.*and 23 more"):
        vggface_serengil.TABLE.invert({"nonsense": np.zeros(1, np.float32)})
