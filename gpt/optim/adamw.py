"""AdamW over flat buffers: one array each for all parameters, all gradients and all moments.

`AdamW(model, ...)` moves the model's parameters into one buffer: each parameter becomes a view of it,
and its `.grad` a view of another buffer, which backward writes and adds into. The gradient's norm, the
update and saving are then single operations on whole buffers. `model` may be any tree of Tensors.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpt.config import OptimConfig
from gpt.errors import UserError
from gpt.optim.loss_scale import FIRST, update_scale
from tensorgrad import Tensor
from tensorgrad.array import Array, device_of, module_of, to_device
from tensorgrad.dtype import DType
from tensorgrad.kernels import kernels_for
from tensorgrad.rounding import rounding_once
from tensorgrad.tape import place_gradient
from tensorgrad.tree import named_tensors
from tensorgrad.writes import Watch, handed_out, written

__all__ = ["AdamW", "aligned", "rates"]

_ALIGNMENT = 64  # elements: in float32 each view begins at a multiple of 256 bytes


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019, algorithm 2) and gradient clipping.

    Matrices decay, vectors (biases, norms) do not; the matrices come first in the buffers. With
    `is_loss_scaled`, backward starts from the loss times `loss_scale`, and each update adapts that scale.
    """

    def __init__(
        self, model: Any, config: OptimConfig, *, left_out: Collection[str] = (), is_loss_scaled: bool = False
    ) -> None:
        """A subclass updates the parameters in `left_out`: they come last in the buffers, without moments."""
        self.config = config
        tensors = named_tensors(model)
        own = {name: x for name, x in tensors.items() if name not in left_out}
        decayed = {name: x for name, x in own.items() if x.ndim >= 2}
        others = {name: x for name, x in own.items() if x.ndim < 2}
        ordered = decayed | others | {name: tensors[name] for name in left_out}
        self.names = tuple(ordered)
        self._num_decayed, num_own, size = (sum(aligned(x.size) for x in xs.values()) for xs in (decayed, own, tensors))
        like = next(iter(tensors.values())).array
        xp = module_of(like)
        self._parameters: Array = xp.zeros(size, like.dtype)
        self._copy: Array | None = None  # the parameters rounded to the dtype of `rounding`
        self._watch = Watch(self._parameters)
        self._gradients: Array = xp.zeros(size, like.dtype)
        self._places: list[tuple[Tensor, Tensor]] = []  # each parameter, and its gradient's view
        self.first_moment: Array = xp.zeros(num_own, like.dtype)
        self.second_moment: Array = xp.zeros(num_own, like.dtype)
        self.rates_4: Array = xp.zeros(4, np.float64)  # the arguments of the kernel `adamw`
        self.scale_state_2: Array | None = None  # see gpt/optim/loss_scale.py
        if is_loss_scaled:
            self.scale_state_2 = xp.zeros(2, np.float64)
            self.scale_state_2[0] = FIRST
        start = 0
        for x in ordered.values():
            part = slice(start, start + x.size)
            view = self._parameters[part].reshape(x.shape)
            view[...] = x.array
            x.data = view
            place = Tensor(self._gradients[part].reshape(x.shape))
            place_gradient(x, place)
            x.grad = place
            self._places.append((x, place))
            start += aligned(x.size)

    @property
    def parameters(self) -> Array:
        """All parameters, (size,). The caller may write to them, so every later step rounds them again."""
        handed_out(self._parameters)
        return self._parameters

    @contextmanager
    def rounding(self, dtype: DType) -> Iterator[None]:
        """Within it, rounding a parameter to `dtype` gives a part of one copy (see tensorgrad.rounding)."""
        self.refresh_copy(dtype)
        if self._copy is None:
            yield
        else:
            with rounding_once(self._parameters, self._copy):
                yield

    def refresh_copy(self, dtype: DType) -> None:
        """Make that copy equal the parameters in `dtype`. Updates keep it so, unless others may have written."""
        if dtype == self._parameters.dtype:
            self._copy = None
        elif self._watch.may_have_changed() or self._copy is None or self._copy.dtype != dtype:
            out = self._copy if self._copy is not None and self._copy.dtype == dtype else None
            self._copy = kernels_for(self._parameters).cast(self._parameters, dtype, out)

    def zero_gradients(self) -> None:
        """Start a new sum: a parameter's next gradient overwrites the old one."""
        for x, _ in self._places:
            x.grad = None

    @property
    def gradients(self) -> Array:
        """All gradients, (size,); zeros for a parameter without one."""
        for x, place in self._places:
            if x.grad is not place:
                place.array[...] = 0 if x.grad is None else x.grad.array
                x.grad = place
        return self._gradients

    def step(self, learning_rate: float, number: int) -> Array:
        """Update the parameters from the gradients. `number` counts the updates from 1.

        Returns: the gradients' global norm before clipping, 0-d. If it is not finite, nothing is updated.
        """
        return self.update(to_device(rates(self.config, learning_rate, number), device_of(self.rates_4)))

    def update(self, rates_3: Array) -> Array:
        """`step`, with the values of `rates` already on the device, so that nothing waits."""
        gradients = self.gradients
        xp = module_of(gradients)
        norm = kernels_for(gradients).global_norm(gradients)
        factor = 1.0
        if self.scale_state_2 is not None:
            scale = self.scale_state_2[0].copy()
            norm, factor = norm / scale, 1.0 / scale
            update_scale(self.scale_state_2, norm)
        clip = self.config.clip_norm
        clipped = xp.minimum(1.0, clip / (norm + 1e-6)) * factor if clip else factor
        self.rates_4[:3] = rates_3
        self.rates_4[3] = xp.where(xp.isfinite(norm), clipped, math.nan)
        self._update(self.rates_4)
        self.note_update()
        return norm

    def _update(self, rates_4: Array) -> None:
        split, end = self._num_decayed, self.first_moment.size
        for part, weight_decay in ((slice(0, split), self.config.weight_decay), (slice(split, end), 0.0)):
            kernels_for(self._parameters).adamw(
                self._parameters[part],
                self.gradients[part],
                self.first_moment[part],
                self.second_moment[part],
                rates_4,
                beta1=self.config.beta1,
                beta2=self.config.beta2,
                eps=self.config.eps,
                weight_decay=weight_decay,
                copy=None if self._copy is None else self._copy[part],
            )

    def note_update(self) -> None:
        """Tell the tape that the parameters have changed. A replayed CUDA graph cannot do it itself."""
        written(self._parameters)
        if self._copy is not None:
            written(self._copy)
        self._watch.settle()

    @property
    def loss_scale(self) -> Array | float:
        """The factor of the loss before backward."""
        return 1.0 if self.scale_state_2 is None else self.scale_state_2[0]

    def state(self) -> dict[str, Array]:
        """The arrays that a resumed run needs besides the parameters."""
        state = {"first_moment": self.first_moment, "second_moment": self.second_moment}
        return state if self.scale_state_2 is None else {**state, "loss_scale": self.scale_state_2}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Copy in what `state` returned for a model of the same shapes. Raises UserError for another model's."""
        for name, buffer in self.state().items():
            found = state.get(name)
            if found is None or found.shape != buffer.shape or found.dtype != buffer.dtype:
                got = "none" if found is None else f"{found.dtype} {found.shape}"
                raise UserError(
                    f"optimizer state: expected {name} of {buffer.dtype} {buffer.shape}, got {got}: "
                    "the checkpoint belongs to another model"
                )
            buffer[...] = to_device(np.asarray(found), device_of(buffer))


def rates(config: OptimConfig, learning_rate: float, number: int) -> NDArray[np.float64]:
    """(3,): the learning rate, 1 - beta1**number, 1 - beta2**number, for update `number`, from 1."""
    return np.array([learning_rate, 1 - config.beta1**number, 1 - config.beta2**number])


def aligned(size: int) -> int:
    """The elements that a parameter of `size` elements occupies in a buffer."""
    return -(-size // _ALIGNMENT) * _ALIGNMENT
