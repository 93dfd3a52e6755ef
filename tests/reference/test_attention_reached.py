"""Attention as torch.nn's modules call it: every option is verified, in float64 and in float32."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bptrain import check_gradients
from bptrain.reference.backprop import NoRule, evaluate
from bptrain.reference.tape import Tape

L, S, B, E = 3, 5, 2, 4
DTYPES = [torch.float64, torch.float32]
LATE = torch.ones(L, S).triu(1).bool()
PADDING = torch.tensor([[False] * S, [False, False, False, True, True]])
NOTHING = torch.tensor([[False] * S, [True] * S])


class Attention(nn.Module):
    """nn.MultiheadAttention with the arguments of its call fixed; masks that are floats come in as inputs."""

    def __init__(self, options=None, **call):
        super().__init__()
        self.attention, self.call = nn.MultiheadAttention(E, 2, **(options or {})), call

    def forward(self, query, key, value, **masks):
        y, weights = self.attention(query, key, value, **self.call, **masks)
        return y if weights is None else (y, weights)


def inputs(dtype, *widths, batched=True):
    torch.manual_seed(0)
    shapes = [
        (length, B, width) if batched else (length, width) for length, width in zip((L, S, S), widths, strict=True)
    ]
    return tuple(torch.randn(shape, dtype=dtype) for shape in shapes)


MODULES = {
    "weights": Attention(),
    "weights of each head": Attention(average_attn_weights=False),
    "fused": Attention(need_weights=False),
    "evaluation": Attention({"dropout": 0.4}).eval(),
    "no biases": Attention({"bias": False}, need_weights=False),
    "dropout": Attention({"dropout": 0.4}),
    "dropout, fused": Attention({"dropout": 0.4}, need_weights=False),
    "more keys": Attention({"add_bias_kv": True, "add_zero_attn": True}, attn_mask=LATE, key_padding_mask=PADDING),
    "more keys, fused": Attention({"add_bias_kv": True, "add_zero_attn": True}, need_weights=False, attn_mask=LATE),
    "padding": Attention(key_padding_mask=PADDING),
    "padding, fused": Attention(need_weights=False, key_padding_mask=PADDING, attn_mask=LATE),
    "nothing seen, fused": Attention(need_weights=False, key_padding_mask=NOTHING),
    "mask of each head": Attention(attn_mask=LATE.expand(2 * B, -1, -1)),
    "causal": Attention(need_weights=False, attn_mask=LATE, is_causal=True),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MODULES)
def test_multi_head_attention_is_verified(name, dtype):
    report = check_gradients(MODULES[name].to(dtype), inputs(dtype, E, E, E))
    assert report.verdict == "verified", report
    assert report.coverage == {"calls": 1.0, "parameters": 1.0}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("need_weights", [True, False])
def test_attention_to_other_widths_without_a_batch_is_verified(need_weights, dtype):
    model = Attention({"kdim": 3, "vdim": 2}, need_weights=need_weights).to(dtype)
    assert check_gradients(model, inputs(dtype, E, 3, 2, batched=False)).verdict == "verified"


@pytest.mark.parametrize("dtype", DTYPES)
def test_batch_first_attention_to_itself_is_verified(dtype):
    attention = nn.MultiheadAttention(E, 2, batch_first=True, dtype=dtype)
    report = check_gradients(lambda x: attention(x, x, x)[0], inputs(dtype, E, E, E)[0])
    assert report.verdict == "verified", report


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("need_weights", [True, False])
def test_masks_of_numbers_get_their_gradients(need_weights, dtype):
    model = Attention({"add_zero_attn": True}, need_weights=need_weights).to(dtype)

    def biased(query, key, value, mask, padding):
        return model(query, key, value, attn_mask=mask, key_padding_mask=padding)

    masks = torch.randn(L, S, dtype=dtype), torch.randn(B, S, dtype=dtype)
    report = check_gradients(biased, (*inputs(dtype, E, E, E), *masks))
    assert report.verdict == "verified", report
    assert {"attn_mask", "key_padding_mask"} <= set(report.calls[-1].gradients)


KERNELS = {
    "all seen": lambda q, k: F.scaled_dot_product_attention(q, k, k),
    "causal": lambda q, k: F.scaled_dot_product_attention(q, k, k, is_causal=True, scale=0.7),
    "mask": lambda q, k: F.scaled_dot_product_attention(q, k, k, ~LATE),
    "nothing seen": lambda q, k: F.scaled_dot_product_attention(q, k, k, torch.zeros(L, S, dtype=torch.bool)),
    "dropout": lambda q, k: F.scaled_dot_product_attention(q, k, k, ~LATE, dropout_p=0.4),
    "grouped heads": lambda q, k: F.scaled_dot_product_attention(q, k[:, :2], k[:, :1], enable_gqa=True),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", KERNELS)
def test_scaled_dot_product_attention_is_verified(name, dtype):
    torch.manual_seed(0)
    q, k = torch.randn(B, 4, L, E, dtype=dtype), torch.randn(B, 4, S, E, dtype=dtype)
    report = check_gradients(KERNELS[name], (q, k))
    assert report.verdict == "verified", report


LAYERS = {
    "encoder layer": lambda: nn.TransformerEncoderLayer(E, 2, 6, dropout=0.3),
    "encoder layer, norm first": lambda: nn.TransformerEncoderLayer(E, 2, 6, 0.3, "gelu", norm_first=True),
    "encoder": lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(E, 2, 6, batch_first=True), 2, norm=nn.LayerNorm(E)
    ),
}
PAIRS = {
    "decoder layer": lambda: nn.TransformerDecoderLayer(E, 2, 6, dropout=0.3),
    "decoder layer, norm first": lambda: nn.TransformerDecoderLayer(E, 2, 6, 0.3, "gelu", norm_first=True, bias=False),
    "transformer": lambda: nn.Transformer(E, 2, 1, 1, 6, 0.3),
}


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", [*LAYERS, *PAIRS])
def test_a_transformer_is_verified(name, training, dtype):
    torch.manual_seed(0)
    model = (LAYERS | PAIRS)[name]().to(dtype).train(training)
    query, key, _ = inputs(dtype, E, E, E)
    report = check_gradients(model, (query, key)[: 2 if name in PAIRS else 1])
    assert report.verdict == "verified", report
    assert report.coverage == {"calls": 1.0, "parameters": 1.0}


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_transformer_with_every_mask_is_verified(dtype):
    torch.manual_seed(0)
    model = nn.Transformer(E, 2, 1, 1, 6, dtype=dtype)
    causal = model.generate_square_subsequent_mask(L, dtype=dtype)
    padding = torch.zeros_like(PADDING, dtype=dtype).masked_fill(PADDING, -torch.inf)

    def masked(tgt, src):
        masks = {"src_key_padding_mask": padding, "memory_key_padding_mask": padding}
        return model(src, tgt, tgt_mask=causal, tgt_is_causal=True, **masks)

    report = check_gradients(masked, inputs(dtype, E, E, E)[:2])
    assert report.verdict == "verified", report


def test_a_query_that_sees_no_key_makes_the_weights_nan_and_nothing_is_accused():
    report = check_gradients(Attention(key_padding_mask=NOTHING), inputs(torch.float32, E, E, E))
    assert report.verdict == "unverified"
    assert report.culprits == []


def test_static_keys_are_refused_with_the_reason():
    attention = nn.MultiheadAttention(E, 2)
    x, keys = torch.randn(L, 1, E), torch.randn(2, S, 2)
    options = (E, 2, attention.in_proj_weight, attention.in_proj_bias, None, None, False, 0.0)
    with Tape(attention) as tape:
        F.multi_head_attention_forward(
            x, x, x, *options, attention.out_proj.weight, attention.out_proj.bias, static_k=keys, static_v=keys
        )
    with pytest.raises(NoRule, match="bypass"):
        evaluate(tape.calls[-1], tape.values.__getitem__, torch.float64)
