"""Convolutions by Winograd's method are those of PyTorch, gradients included."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vox2face.zoo import ve_conv, winograd

SHAPES = [(2, 35, 20, 33), (1, 32, 7, 8), (1, 40, 4, 4), (2, 64, 31, 21), (1, 33, 11, 30)]


def gradients(conv: nn.Conv2d, x: Tensor) -> list[Tensor]:
    """Return the output, and the gradients of input, weight and bias for a fixed one of it."""
    x = x.detach().requires_grad_()
    y = conv(x)
    drawn = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    return [y.detach(), *torch.autograd.grad(y, (x, *conv.parameters()), drawn.to(y.dtype))]


def reference(conv: nn.Conv2d, x: Tensor) -> list[Tensor]:
    """Return the same by PyTorch's convolution in float64."""
    sizes = conv.in_channels, conv.out_channels, winograd.SIZE, conv.stride
    other = nn.Conv2d(*sizes).double()
    other.load_state_dict(conv.state_dict())
    return gradients(other, x.double())


@pytest.mark.parametrize("at_once", [winograd.AT_ONCE, 20_000])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_outputs_and_gradients_are_those_of_a_convolution(
    shape: tuple[int, ...], stride: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd, "AT_ONCE", at_once)
    torch.manual_seed(0)
    conv, x = winograd.Conv2d(shape[1], 37, stride), torch.randn(shape)
    assert winograd.usable(x, conv.weight)
    for memory in (torch.contiguous_format, torch.channels_last):
        found = gradients(conv, x.to(memory_format=memory))
        for ours, exact in zip(found, reference(conv, x), strict=True):
            assert ours.shape == exact.shape
            assert (ours - exact).abs().max() < 5e-6 * exact.abs().max()


def test_filters_are_exact_in_whole_numbers() -> None:
    for stride, chosen in winograd.FILTERS.items():
        taps = winograd.SIZE // stride
        x = torch.arange(1.0, winograd.SIZE + taps, dtype=torch.float64)
        w = torch.tensor([3.0, -1, 4, 2], dtype=torch.float64)[:taps]
        output, kernel, given = (t.double() for t in (chosen.output, chosen.kernel, chosen.given))
        want = torch.stack([(x[i : i + taps] * w).sum() for i in range(winograd.SIZE)])
        torch.testing.assert_close(output @ ((kernel @ w) * (given @ x)), want, atol=1e-5, rtol=0)


def test_gradients_are_computed_where_they_are_needed_only() -> None:
    conv, x = winograd.Conv2d(32, 32), torch.randn(1, 32, 9, 9)
    conv(x).sum().backward()
    assert conv.weight.grad is not None and x.grad is None
    conv.requires_grad_(False).zero_grad()
    x.requires_grad_()
    conv(x).relu_().sum().backward()
    assert conv.weight.grad is None and x.grad is not None
    with torch.no_grad():
        assert conv(x).grad_fn is None


def test_the_same_bits_come_out_every_time() -> None:
    conv, x = winograd.Conv2d(32, 48, 2), torch.randn(2, 32, 30, 40)
    for first, second in zip(gradients(conv, x), gradients(conv, x), strict=True):
        assert torch.equal(first, second)


def test_elsewhere_it_is_the_convolution_of_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: Any) -> None:
        raise AssertionError("Winograd's method was used.")

    monkeypatch.setattr(winograd.Convolution, "apply", refused)
    conv, x = winograd.Conv2d(32, 32), torch.randn(1, 32, 9, 9)
    with pytest.raises(AssertionError, match="was used"):
        conv(x)
    assert conv.double()(x.double()).dtype == torch.float64
    conv.float()
    assert conv(x[0]).shape == (32, 6, 6)  # not a batch
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert conv(x).dtype == torch.bfloat16
    assert winograd.Conv2d(8, 8)(x[:, :8]).shape == (1, 8, 6, 6)  # too narrow to pay
    assert copy.deepcopy(conv).to("meta")(x.to("meta")).shape == (1, 32, 6, 6)
    exported = torch.export.export(conv, (x,))
    assert any("conv2d" in str(node.target) for node in exported.graph.nodes)


def test_ve_conv_has_the_same_gradients_with_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = ve_conv.tiny(channels=(4, *(32,) * 8), hidden=16, width=8)
    x = torch.randn(2, 2, 257, 270)
    fast = network.eval()  # PyTorch's statistics of a batch are only good to 1e-4, channels last
    slow = copy.deepcopy(fast)
    fast(x).square().sum().backward()
    monkeypatch.setattr(winograd, "NARROWEST", 1 << 30)
    slow(x).square().sum().backward()
    for (name, a), b in zip(fast.named_parameters(), slow.parameters(), strict=True):
        assert a.grad is not None and b.grad is not None
        assert (a.grad - b.grad).norm() < 1e-3 * b.grad.norm(), name
