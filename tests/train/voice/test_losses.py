"""Every loss is its formula, and its reduction is what it says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from vox2face.core.errors import UsageError
from vox2face.train.decoder.loss import landmarks_mse, negative_cosine, texture_mae
from vox2face.train.voice.loss import (
    AMSoftmax,
    decoder_layer_l1,
    distillation,
    info_nce,
    normalized_distance,
    whole_batch_distance,
)

Array = np.ndarray
RANDOM = np.random.default_rng(0)
A, B = RANDOM.standard_normal((2, 6, 5))
WHO = np.array([0, 1, 0, 2, 1, 3])


def tensor(array: Array) -> torch.Tensor:
    return torch.from_numpy(array)


def unit(x: Array) -> Array:
    return x / np.sqrt((x**2).sum(1, keepdims=True))


def log_softmax(x: Array) -> Array:
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def nce(a: Array, b: Array, temperature: float, who: Array) -> float:
    """The loss of each row in a loop, as the definition reads."""
    total = 0.0
    for one, other in ((unit(a), unit(b)), (unit(b), unit(a))):
        for i in range(len(one)):
            rivals = [j for j in range(len(one)) if j == i or who[j] != who[i]]
            scores = np.array([one[i] @ other[j] for j in rivals]) / temperature
            total -= scores[rivals.index(i)] - np.log(np.exp(scores).sum())
    return total / (2 * len(a))


def am(x: Array, weight: Array, who: Array, margin: float, scale: float) -> float:
    total = 0.0
    for row, own in zip(unit(x), who, strict=True):
        scores = [scale * (row @ w - margin * (k == own)) for k, w in enumerate(unit(weight))]
        total -= scores[own] - np.log(np.exp(scores).sum())
    return total / len(x)


FORMULAS: dict[str, tuple[Callable[..., torch.Tensor], float]] = {
    "distance": (normalized_distance, ((unit(A) - unit(B)) ** 2).sum(1).mean()),
    "whole batch": (
        whole_batch_distance,
        ((A / np.sqrt((A**2).sum()) - B / np.sqrt((B**2).sum())) ** 2).sum(),
    ),
    "distillation": (
        distillation,
        -(np.exp(log_softmax(B / 2)) * log_softmax(A / 2)).sum(1).mean(),
    ),
    "summed distillation": (
        lambda a, b: distillation(a, b, 3.0, "sum"),
        -(np.exp(log_softmax(B / 3)) * log_softmax(A / 3)).sum(),
    ),
    "decoder layer": (decoder_layer_l1, np.abs(A - B).sum(1).mean()),
    "mean decoder layer": (
        lambda a, b: decoder_layer_l1(a, b, "mean"),
        np.abs(A - B).mean(),
    ),
    "info nce": (lambda a, b: info_nce(a, b, 0.5), nce(A, B, 0.5, np.arange(6))),
    "info nce of identities": (
        lambda a, b: info_nce(a, b, 0.5, tensor(WHO)),
        nce(A, B, 0.5, WHO),
    ),
    "info nce around a center": (
        lambda a, b: info_nce(a, b, 0.5, center=tensor(B[0] / 2)),
        nce(A - B[0] / 2, B - B[0] / 2, 0.5, np.arange(6)),
    ),
    "landmarks": (landmarks_mse, ((A - B) ** 2).mean()),
    "texture": (texture_mae, np.abs(A - B).mean()),
    "cosine": (negative_cosine, 1 - (unit(A) * unit(B)).sum(1).mean()),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_a_loss_equals_its_formula(name: str) -> None:
    loss, want = FORMULAS[name]
    value = loss(tensor(A), tensor(B))
    assert value.shape == () and value.item() == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_loss_has_the_gradient_of_its_formula(name: str) -> None:
    a = tensor(A).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: FORMULAS[name][0](x, tensor(B)), a)


def test_am_softmax_equals_its_formula_and_trains_its_weights() -> None:
    torch.manual_seed(0)
    module = AMSoftmax(5, 4, margin=0.3, scale=7.0).double()
    loss = module(tensor(A), tensor(WHO))
    want = am(A, module.weight.detach().numpy(), WHO, 0.3, 7.0)
    assert loss.item() == pytest.approx(want, rel=1e-12)
    loss.backward()
    assert module.weight.grad is not None and (module.weight.grad != 0).all()


BATCH_MEANS = [name for name in FORMULAS if name.split()[0] not in ("whole", "summed", "info")]


@pytest.mark.parametrize("name", BATCH_MEANS)
def test_the_size_of_the_batch_does_not_matter(name: str) -> None:
    loss = FORMULAS[name][0]
    once, twice = (
        loss(tensor(A), tensor(B)),
        loss(tensor(np.tile(A, (2, 1))), tensor(np.tile(B, (2, 1)))),
    )
    assert twice.item() == pytest.approx(once.item(), rel=1e-12)


def test_the_length_of_one_row_changes_no_normalised_loss() -> None:
    long = A * np.array([[1], [100], [1], [0.01], [1], [1]])
    for name in ("distance", "cosine", "info nce"):
        loss, want = FORMULAS[name]
        assert loss(tensor(long), tensor(B)).item() == pytest.approx(want, rel=1e-9)
    assert whole_batch_distance(tensor(long), tensor(B)).item() != pytest.approx(
        FORMULAS["whole batch"][1], rel=0.01
    )


def test_equal_embeddings_lose_nothing() -> None:
    for loss in (normalized_distance, negative_cosine, landmarks_mse):
        assert loss(tensor(A), tensor(A)).item() == pytest.approx(0, abs=1e-12)
    assert negative_cosine(tensor(A), tensor(-A)).item() == pytest.approx(2)


def test_silence_gives_finite_gradients() -> None:
    nothing = torch.zeros(2, 5, dtype=torch.double, requires_grad=True)
    loss = normalized_distance(nothing, tensor(B[:2])) + negative_cosine(nothing, tensor(B[:2]))
    loss.backward()
    assert nothing.grad is not None and nothing.grad.isfinite().all()


def test_a_teacher_is_not_taught() -> None:
    teacher = tensor(B).requires_grad_()
    student = tensor(A).requires_grad_()
    distillation(student, teacher).backward()
    assert teacher.grad is None and student.grad is not None


def test_a_batch_of_one_identity_has_no_negatives() -> None:
    same = torch.zeros(6, dtype=torch.long)
    assert info_nce(tensor(A), tensor(B), 0.1, same).item() == pytest.approx(0, abs=1e-12)


def test_what_cannot_be_meant_is_told() -> None:
    with pytest.raises(UsageError, match="mean or sum, not 'median'"):
        distillation(tensor(A), tensor(B), 2.0, "median")
    with pytest.raises(UsageError, match="needs identities"):
        AMSoftmax(5, 0)
