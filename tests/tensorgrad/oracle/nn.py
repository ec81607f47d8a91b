"""Functions of neural networks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tests.tensorgrad.oracle.elementwise import UNARY
from tests.tensorgrad.oracle.inputs import FINITE, KINDS, choices
from tests.tensorgrad.oracle.table import Table

table = Table()

ROWS = (((3, 4, 5),), ((5,),), ((2, 1),), ((0, 3),))


def each_axis(ndim: int) -> list[dict[str, Any]]:
    return choices(axis=tuple(range(-ndim, ndim)))


def activation(op: str, **options: Any) -> None:
    table.pair(op, *UNARY, elementwise=True, **options)


# --- activations -------------------------------------------------------------------------------

# Far below 0, PyTorch's 1 + erf and 1 + tanh cancel; at the largest numbers its tanh has a derivative 0 * inf.
activation(
    "gelu",
    arguments=choices(approximate=("none", "tanh")),
    avoid=lambda a: ((a < -3) | (a > 1e30)) & np.isfinite(a),
)
activation("silu")
activation("leaky_relu", arguments=[{}, *choices(negative_slope=(0.3, -0.5))], signed_zeros=False)
# PyTorch's derivatives of these at nan depend on the element's place.
activation("hardtanh", arguments=[{}, {"min_val": -0.5, "max_val": 1.5}], avoid=np.isnan, signed_zeros=False)
activation("relu6", avoid=np.isnan, signed_zeros=False)
activation("elu", arguments=[{}, *choices(alpha=(0.5, 2.0))], avoid=np.isnan)
activation("selu", avoid=np.isnan)
activation("celu", arguments=[{}, *choices(alpha=(0.5, 2.0))], avoid=np.isnan)
activation("softplus", arguments=[{}, *choices(beta=(0.5, 2.0), threshold=(3.0, 20.0))])
activation("logsigmoid")
activation("softsign", avoid=np.isinf)  # PyTorch computes inf - inf
activation("mish", avoid=lambda a: (a < -10) & np.isfinite(a) | (a == np.inf))  # PyTorch's cancels, and is 0 * inf
table.pair("swiglu", *(((3, 4, 6),), ((2,),), ((0, 4),)))

for name in ("gelu", "gelu_tanh", "relu_squared", "swiglu"):
    rows = 2 if name == "swiglu" else 1
    table.pair(
        "mlp",
        *(((2, 3, 4), (5 * rows, 4), (6, 5)), ((4,), (5 * rows, 4), (2, 5), (5 * rows,), (2,))),
        arguments=choices(activation=(name,)),
        kinds=(*FINITE, "nan"),  # an activation's derivative at infinity is 0 * inf, or not
    )

# --- softmax and its losses --------------------------------------------------------------------

for op in ("softmax", "log_softmax"):
    table.pair(op, *ROWS[:3], arguments=each_axis)
    table.pair(op, ((0, 3),), arguments=choices(axis=(-1, 1)))

TARGETS = np.random.default_rng(0).integers(0, 5, (3, 4))
IGNORED = np.where(np.arange(12).reshape(3, 4) % 3 == 0, -100, TARGETS)
REDUCTIONS = ("mean", "sum", "none")
WEIGHT = np.array([0.5, 2.0, 0.0, 1.0, 1.5])

for op in ("cross_entropy", "nll_loss"):
    table.pair(op, ((3, 4, 5),), arguments=choices(targets=(TARGETS,), weight=(None, WEIGHT), reduction=REDUCTIONS))
    # An ignored row's inf or nan reaches PyTorch's gradient, and not ours.
    table.pair(
        op,
        ((3, 4, 5),),
        arguments=[
            *choices(targets=(IGNORED,), weight=(None, WEIGHT), reduction=REDUCTIONS),
            *choices(targets=(TARGETS,), reduction=REDUCTIONS, ignore_index=(2,)),
        ],
        kinds=FINITE,
    )
    none_counts = choices(targets=(np.full((3, 4), -100),), reduction=("sum", "none"))
    table.pair(op, ((3, 4, 5),), arguments=none_counts, kinds=())
    table.pair(op, ((5,),), arguments=choices(targets=(np.array(3),), reduction=REDUCTIONS))
    table.pair(op, ((3, 5, 4),), arguments=choices(targets=(TARGETS,), axis=(1, -2)))
table.pair(
    "cross_entropy",
    ((3, 4, 5),),
    arguments=choices(
        targets=(TARGETS, IGNORED), weight=(None, WEIGHT), label_smoothing=(0.1, 1.0), reduction=REDUCTIONS
    ),
    kinds=FINITE,
)
table.pair(
    "cross_entropy",
    ((3, 4, 5), (3, 4, 5)),
    ((5,), (5,)),
    arguments=choices(weight=(None, WEIGHT), label_smoothing=(0.0, 0.1), reduction=REDUCTIONS),
    domain=("any", "probabilities"),
    kinds=("equal", "zeros", "ties"),
)
table.pair(
    "linear_cross_entropy",
    ((12, 4), (5, 4)),
    arguments=choices(targets=(IGNORED.reshape(-1),), label_smoothing=(0.0, 0.1), reduction=REDUCTIONS),
    kinds=FINITE,
)

# --- norms -------------------------------------------------------------------------------------

WITH_AFFINE = (((3, 4, 5), (5,), (5,)), ((5,), (5,), (5,)), ((0, 3), (3,), (3,)))
table.pair(
    "layer_norm",
    *WITH_AFFINE,
    *(shapes[:2] for shapes in WITH_AFFINE[:2]),
    ((3, 4, 5), (4, 5), (4, 5)),
    arguments=choices(eps=(1e-5, 0.1)),
    # An infinite weight gives inf - inf in one order of terms only; PyTorch's dweight of equal elements is noise.
    kinds=("ties", "zeros", "large", "nan"),
)
table.pair(
    "rms_norm",
    *(shapes[:2] for shapes in WITH_AFFINE),
    ((3, 4, 5), (4, 5)),
    arguments=choices(eps=(1e-6, 0.1, None)),
)
for op in ("layer_norm", "rms_norm"):
    table.pair(
        op,
        ((3, 4, 5),),
        arguments=choices(normalized_shape=((5,), (4, 5), (3, 4, 5))),
    )
table.pair(
    "group_norm",
    *(((3, 4, 5), (4,), (4,)), ((2, 4), (4,), (4,)), ((3, 4, 2, 2),), ((2, 4, 3), (4,)), ((0, 4, 2), (4,), (4,))),
    of=lambda f: lambda x, w=None, b=None, groups=1, eps=1e-5: f(x, groups, w, b, eps=eps),
    arguments=choices(groups=(1, 2), eps=(1e-5, 0.1)),
    kinds=("ties", "zeros", "large", "nan"),
)

# --- linear layers, embedding, attention -------------------------------------------------------

IDS = np.array([[1, 0, 5], [5, 5, 2]])
table.pair(
    "embedding",
    *(((6, 3),), ((6, 0),)),
    arguments=choices(ids=(IDS, IDS[0], np.array(2), np.zeros((2, 0), np.int64)), padding_idx=(None, 5, -6)),
)

MASK = np.random.default_rng(0).random((2, 1, 5, 7)) < 0.7
MASK[..., 0] = True
BIAS = np.random.default_rng(1).normal(size=(4, 5, 7))
QKV = ((2, 4, 5, 6), (2, 4, 7, 6), (2, 4, 7, 3))
GROUPED = ((2, 4, 5, 6), (2, 2, 7, 6), (2, 2, 7, 6))

# Logits of 1e8 have no digits after the point; gradients of equal keys are 0 but for noise; and inf or nan reaches
# PyTorch's result from what is masked out.
MODEST = ("ties", "zeros")
table.pair(
    "scaled_dot_product_attention",
    *(QKV, GROUPED, ((0, 4, 5, 6), (0, 4, 7, 6), (0, 4, 7, 6))),
    arguments=[
        *choices(is_causal=(False, True), scale=(None, 0.3)),
        *choices(mask=(MASK[:1], BIAS)),
    ],
    kinds=MODEST,
)
SQUARE = ((2, 3, 4, 5),) * 3
table.pair("scaled_dot_product_attention", SQUARE, arguments=choices(is_causal=(False, True)), kinds=MODEST)
table.pair("scaled_dot_product_attention", SQUARE, kinds=("infinite", "nan"))

table.pair(
    "self_attention",
    *(((2, 5, 8, 6),), ((1, 3, 12, 2),), ((0, 4, 8, 3),)),
    arguments=choices(num_heads=(4,), is_causal=(False, True), scale=(None, 0.3)),
    kinds=MODEST,
)

# --- losses of two values ----------------------------------------------------------------------

TWO = (((3, 4), (3, 4)), ((5,), (5,)), ((), ()), ((0, 3), (0, 3)))


def loss(op: str, kinds: tuple[str, ...] = KINDS, domain: Any = "any", **values: Any) -> None:
    table.pair(
        op,
        *TWO,
        arguments=choices(reduction=REDUCTIONS, **values),
        kinds=kinds,
        domain=domain,
    )


loss("mse_loss")
loss("l1_loss")
loss("huber_loss", delta=(1.0, 0.5, 3.0))
loss("smooth_l1_loss", beta=(1.0, 0.5, 0.0))
DIVERGENCES = (*REDUCTIONS, "batchmean")
table.pair("kl_div", *TWO[:2], arguments=choices(log_target=(True,), reduction=DIVERGENCES))
table.pair(
    "kl_div",
    *TWO[:2],
    arguments=choices(reduction=DIVERGENCES),
    domain=("any", "unit"),
    kinds=FINITE,
    avoid=lambda a: np.abs(a) < 1e-30,  # where PyTorch has no derivative in the target
)
WEIGHTS = (None, np.array([0.5, 2.0, 0.0, 1.0]))
loss("binary_cross_entropy", domain="unit", kinds=("equal", "ties"))
loss("binary_cross_entropy_with_logits", domain=("any", "unit"), kinds=(*FINITE, "nan"))
for op, domain, weights in (
    ("binary_cross_entropy", "unit", {"weight": WEIGHTS}),
    ("binary_cross_entropy_with_logits", ("any", "unit"), {"weight": WEIGHTS, "pos_weight": WEIGHTS}),
):
    table.pair(
        op,
        ((3, 4), (3, 4)),
        arguments=choices(**weights, reduction=REDUCTIONS),
        domain=domain,
        kinds=("equal", "ties"),
    )
table.pair(
    "one_hot",
    *(((3, 4),), ((),), ((0, 2),)),
    arguments=choices(num_classes=(20, 25)),
    domain="positive",
    floats=(),
    dtypes=("int64",),
)
table.pair("bilinear", ((2, 3, 4), (2, 3, 5), (6, 4, 5)), ((3, 4), (3, 5), (6, 4, 5), (6,)))
table.pair("bilinear", ((4,), (5,), (6, 4, 5)), ((0, 4), (0, 5), (6, 4, 5)))

# --- distances, convolution --------------------------------------------------------------------

PAIRS = (((3, 4, 5), (3, 4, 5)), ((4, 5), (1, 5)))
table.pair(
    "cosine_similarity",
    *PAIRS,
    arguments=choices(axis=(-1, 0, 1), eps=(1e-8, 1e-3)),
    kinds=("ties", "equal", "large", "nan"),
)
table.pair(
    "normalize",
    *(((3, 4, 5),), ((4, 5),)),
    arguments=choices(p=(2.0, 1.0, 3.0, math.inf), axis=(1, -1, 0), eps=(1e-12, 10.0)),
    kinds=("ties", "equal", "large", "nan"),
)
table.pair(
    "pairwise_distance",
    *PAIRS,
    ((5,), (3, 5)),
    arguments=choices(p=(2.0, 1.0, 3.0, math.inf), eps=(1e-6, 0.1), keepdims=(False, True)),
    kinds=("equal", "large", "nan"),
)
table.pair(
    "cdist",
    *(((3, 4, 5), (3, 4, 5)), ((2, 3), (4, 3)), ((0, 3), (4, 3)), ((2, 1, 3, 2), (4, 5, 2))),
    arguments=choices(p=(2.0, 1.0, 3.0)),
    kinds=("equal", "large"),
)
table.pair(
    "conv1d",
    *(((2, 4, 9), (6, 4, 3), (6,)), ((4, 9), (6, 4, 3)), ((2, 4, 7), (4, 4, 1)), ((0, 4, 7), (4, 4, 3), (4,))),
    arguments=[*choices(stride=(1, 2, 3), padding=(0, 2), dilation=(1, 2)), *choices(padding=("same", "valid"))],
)
table.pair(
    "conv1d",
    *(((2, 4, 9), (6, 2, 3), (6,)), ((4, 9), (2, 2, 2))),
    arguments=choices(groups=(2,), stride=(1, 2), padding=(0, 1)),
    kinds=FINITE,
)
