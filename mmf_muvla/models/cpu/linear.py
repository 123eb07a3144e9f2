"""Linear layers by oneDNN where that is faster: float32 on CPUs.

PyTorch multiplies float32 matrices on CPUs with MKL. Its other library, oneDNN, does the same work about a tenth faster
on processors with AVX-512. Everywhere else (CUDA, bf16, autocast, while compiling) it is ``torch.nn.Linear``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")

# oneDNN generates code for every new shape and keeps it. As no two batches have equally many positions, a process would
# grow by megabytes with each of them; so only matrices of a multiple of so many rows go there, and the trunk fills its
# positions up to one.
ROWS_TOGETHER = 32


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias`` by oneDNN: [m, k], [n, k], [n] -> [m, n]."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class _OneDnnLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _multiply(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        return (
            _multiply(gradient, weight.t()) if wants_x else None,
            _multiply(gradient.t(), x.t()) if wants_weight else None,
            gradient.sum(dim=0) if wants_bias else None,
        )


class _OneDnnFeedForward(torch.autograd.Function):
    """Two linear layers with GELU between them. GELU's output is computed again for the gradients, not kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, weight2: Tensor, bias2: Tensor) -> Tensor:
        inner = _multiply(x, weight, bias)
        ctx.save_for_backward(x, inner, weight, weight2)
        return _multiply(F.gelu(inner), weight2, bias2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, inner, weight, weight2 = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        of_weight2 = _multiply(gradient.t(), F.gelu(inner).t())
        of_inner = torch.ops.aten.gelu_backward(_multiply(gradient, weight2.t()), inner)
        of_x = _multiply(of_inner, weight.t()) if ctx.needs_input_grad[0] else None
        return of_x, _multiply(of_inner.t(), x.t()), of_inner.sum(dim=0), of_weight2, gradient.sum(dim=0)


def _use_onednn(x: Tensor, weight: Tensor) -> bool:
    return (
        _ONEDNN
        and x.dim() == 2
        and len(x) > 0
        and len(x) % ROWS_TOGETHER == 0
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def feed_forward(x: Tensor, expand: nn.Linear, contract: nn.Linear) -> Tensor:
    """``contract(gelu(expand(x)))``: float [m, width] -> [m, width]."""
    if _use_onednn(x, expand.weight):
        return _OneDnnFeedForward.apply(x, expand.weight, expand.bias, contract.weight, contract.bias)
    return contract(F.gelu(expand(x)))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``torch.nn.functional.linear``."""
    return (_OneDnnLinear.apply if _use_onednn(x, weight) else F.linear)(x, weight, bias)


class Linear(nn.Linear):
    """``torch.nn.Linear`` with the multiplication of :func:`linear`."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)
