"""One layer of the network in training: its real parameters, and the integers made from them."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from kestrel.hw.spec.masks import MASK_BITS, MASK_MAGNITUDES
from kestrel.hw.spec.widths import table_entries
from kestrel.sw.compress.fit import PRESCRIBING_RULES, find_rule, fit_masks
from kestrel.sw.compress.mask_rules import RULES, fit_kernels, improve, nearest_mask
from kestrel.sw.model.compressed import CompressedLayer
from kestrel.sw.model.exact_convolution import LAYOUT
from kestrel.sw.model.network import ConvShape
from kestrel.sw.retrain.networks import arithmetic
from kestrel.sw.retrain.networks.arithmetic import Inputs, Map
from kestrel.sw.retrain.networks.exactness import Exactness
from kestrel.sw.retrain.networks.folding import Integers, RealShortcut, fold
from kestrel.sw.retrain.networks.parameters import RealLayer

Fitting = Literal["fit", "keep"]
"""How masks are fitted. ``fit``: by the rule (for least squares by one alternation from the last fit, see
``_fit``). ``keep``: not at all; the last ones are folded with the present ranges and biases. Frozen layers
always keep theirs."""


@dataclass(frozen=True)
class QuantiseOptions:
    """How a layer is quantised in training.

    ``fit`` is a rule of ``mask_rules.RULES``. ``learn_ranges`` trains the activation ranges.
    ``learn_scalars`` trains the scalars instead of fitting them after each step; masks are then the nearest
    to them. With ``clip``, a weight beyond the largest level of its kernel gets no gradient. With ``mixed``,
    the gradients' convolutions are in bfloat16.
    """

    fit: str = "least-squares"
    learn_ranges: bool = True
    learn_scalars: bool = False
    clip: bool = False
    mixed: bool = False


class QuantisedConv(nn.Module):
    """One layer, or all those that share its weights. Its parameters are real; its forward pass uses
    ``integers``, which ``quantise`` computes from them and which stay unchanged until it is called again.

    Members: ``weight`` [C_out, C_in, k, k] and ``bias`` [C_out], both float32 in real units; ``shortcut``,
    the shortcut's weights, float32 [C_out, C_shortcut] of a projection, [C_out] of an identity, or None;
    ``log_range``, the logarithm of the activation that becomes 2**A - 1, float64; ``scalars``, float32
    [C_out, C_in], or None if they are not learned; ``mask_bits``; ``scalar_bits``; ``last_mask`` and
    ``last_alpha``, those of the last fit, from which a quick fit starts.

    A 1x1 kernel is one weight, which its sign and its scalar stand for; so is each kernel of a projection.
    Nothing is fitted there: the weight is rounded.
    """

    weight: nn.Parameter
    bias: nn.Parameter
    shortcut: nn.Parameter | None
    log_range: nn.Parameter
    last_alpha: torch.Tensor
    last_mask: torch.Tensor

    def __init__(
        self,
        layer: CompressedLayer,
        activation_bits: int,
        options: QuantiseOptions,
        real: RealLayer,
    ) -> None:
        super().__init__()
        self.shape = layer.shape
        self.mask_bits = layer.mask_bits
        self.scalar_bits = layer.scalar_bits
        self.options = options
        self.activation_bits = activation_bits
        self.weight = nn.Parameter(real.weight.detach().float().clone().contiguous(memory_format=LAYOUT))
        self.bias = nn.Parameter(real.bias.detach().float().clone())
        self.shortcut = None
        if real.shortcut is not None:
            self.shortcut = nn.Parameter(real.shortcut.detach().float().clone())
        greatest = (1 << activation_bits) - 1
        self.log_range = nn.Parameter(
            torch.tensor(math.log(layer.scale * greatest), dtype=torch.float64),
            requires_grad=options.learn_ranges,
        )
        self.register_buffer("last_alpha", torch.zeros(layer.alpha.shape, dtype=torch.float64))
        self.register_buffer("last_mask", torch.zeros(layer.mask.shape, dtype=torch.int8))
        self._refit = True
        self.scalars: nn.Parameter | None = None
        if options.learn_scalars and layer.shape.kernel > 1:
            start = self._fit_by_rule(self.weight.detach())[1]
            self.scalars = nn.Parameter(start.float())
        self._integers: Integers | None = None
        self._inputs: Inputs | None = None

    @property
    def most_mask_bits(self) -> int:
        """The widest masks that the layer can have."""
        return MASK_BITS[-1] if self.shape.kernel > 1 else 1

    @property
    def integers(self) -> Integers:
        assert self._integers is not None, "quantise comes first"
        return self._integers

    @torch.no_grad()
    def quantise(self, inputs: Inputs, how: Fitting, raised: float = 1.0) -> None:
        """Fits and folds the present weights, for these ``inputs``. ``raised`` is the factor by which the
        range is enlarged at least.

        The layer's largest scalar determines its shift. This corresponds to the step in Algorithm 1 of Yang
        et al. that looks up the maximum of the weights again before it quantises.
        """
        if how != "keep" and (self.weight.requires_grad or self._refit):
            mask, alpha = self._fit(self.weight.detach().double(), inputs.scale)
            self.last_mask.copy_(mask)
            self.last_alpha.copy_(alpha)
            self._refit = False
        fitted = self.last_mask.double(), self.last_alpha
        prescribed = self.options.fit in PRESCRIBING_RULES or self.shape.kernel == 1
        shortcut = None
        if self.shortcut is not None:
            assert inputs.shortcut_scale is not None, "a shortcut has a map"
            shortcut = RealShortcut(self.shortcut.double(), inputs.shortcut_scale)
        self._integers = fold(
            self.weight.double(),
            self.bias.double(),
            fitted,
            self.mask_bits,
            math.exp(float(self.log_range)),
            (inputs.scale, inputs.zero),
            self.activation_bits,
            refine=self.scalars is None and not prescribed,
            shortcut=shortcut,
            raised=raised,
            scalar_bits=self.scalar_bits,
        )
        self._inputs = inputs

    def _fit(self, weight: torch.Tensor, gain: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Masks and real scalars. For least squares with several levels, the exact search is made only if
        there is no fit yet. Made later, it would replace the levels to which the weights have adapted by
        others that are slightly nearer to the weights, and lose what training has gained with them."""
        if self.shape.kernel == 1:
            return torch.where(weight < 0, -1.0, 1.0), weight.abs()[:, :, 0, 0]
        if self.scalars is not None:
            alpha = self.scalars.double().clamp(min=0)
            ratio = torch.where(alpha > 0, 1 / alpha.clamp(min=1e-300), 0.0)[:, :, None, None]
            return nearest_mask(weight * ratio, self.mask_bits), alpha
        if self._refit or self.options.fit != "least-squares" or self.mask_bits == 1:
            return self._fit_by_rule(weight, gain)
        return improve(weight, self.last_alpha, self.mask_bits)

    def _fit_by_rule(
        self, weight: torch.Tensor, gain: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """With scalars from a table as compression makes it, on the CPU; between fits of this kind the table
        follows the scalars (``fold``)."""
        if table_entries(self.scalar_bits) and self._refit:
            gains = None if gain is None else gain.cpu().numpy()
            fit = fit_masks(weight.cpu().numpy(), self.mask_bits, self.options.fit, self.scalar_bits, gains)
            mask, alpha = torch.from_numpy(fit.mask).double(), torch.from_numpy(fit.alpha)
            return mask.to(weight.device), alpha.to(weight.device)
        return fit_kernels(weight, self.mask_bits, find_rule(self.options.fit, RULES))

    def set_mask_bits(self, mask_bits: int) -> None:
        """Sets another mask width, which applies from the next ``quantise`` on."""
        if mask_bits == self.mask_bits:
            return
        self.mask_bits, self._refit = mask_bits, True
        if self.scalars is not None:
            start = self._fit_by_rule(self.weight.detach())[1]
            self.scalars.data.copy_(start)

    def recall(self, mask: torch.Tensor, alpha: torch.Tensor) -> None:
        """Takes the given masks and real scalars as those of the last fit."""
        self.last_mask.copy_(mask)
        self.last_alpha.copy_(alpha)
        self._refit = False

    def forward(
        self, shape: ConvShape, source: Map, other: Map | None, pad: torch.Tensor | None, exact: Exactness
    ) -> Map:
        """The output of a layer of ``shape`` with these weights, from the map ``source`` and, for the
        shortcut, ``other``."""
        integers, inputs = self.integers, self._inputs
        assert inputs is not None
        weight, log_out = self._seen_weight(integers, inputs), self.log_scale()
        operands = arithmetic.make_operands(
            integers, shape, self.bias.detach().double(), inputs, pad, exact, mixed=self.options.mixed
        )
        v = arithmetic.convolve(source, weight, self.bias, log_out, operands, other, self.shortcut)
        if shape.pool:  # before requantisation, which is monotone: docs/arithmetic.md
            v = functional.max_pool2d(v, shape.pool_size, 2, shape.pool_size // 3)
        return Map(arithmetic.requantise(v, self.activation_bits), log_out)

    def log_scale(self) -> torch.Tensor:
        """Logarithm of the real value of an output unit, with its gradient. Its value agrees with
        ``integers.scale``, which the integers use, up to rounding."""
        greatest = (1 << self.activation_bits) - 1
        return self.log_range + math.log(self.integers.raised / greatest)

    def _seen_weight(self, integers: Integers, inputs: Inputs) -> torch.Tensor:
        """The tensor to which the gradient of the quantised weights goes: the float weights, or a function of
        them and the scalars.

        Only its graph matters; the forward pass does not use its values. With learned scalars, for
        q = a M(w/a): dq/dw = 1 and dq/da = M - w/a inside the levels, dq/dw = 0 and dq/da = M beyond them.
        """
        if self.shape.kernel == 1 or (self.scalars is None and not self.options.clip):
            return self.weight
        unit = (integers.scale * 2.0**-integers.shift / inputs.scale).float()
        used = (integers.alpha.float() * unit)[:, :, None, None]
        mask = integers.mask.float()
        top = float(MASK_MAGNITUDES[self.mask_bits][-1])
        inside = self.weight.detach().abs() <= top * used * (1 + 0.5 / top)
        if self.mask_bits == 1:
            inside = (
                torch.ones_like(inside) if not self.options.clip else self.weight.detach().abs() <= 2 * used
            )
        seen = self.weight * inside
        if self.scalars is not None:
            ratio = torch.where(used > 0, self.weight.detach() / used.clamp(min=1e-30), 0.0)
            seen = seen + self.scalars[:, :, None, None] * (mask - ratio * inside * (self.mask_bits > 1))
        return seen
