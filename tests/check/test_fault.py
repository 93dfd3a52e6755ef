"""The words on a wrong gradient are those of the fault that was planted, under rounding too, and none on garbage."""

import math

import pytest
import torch

from bptrain.check.fault import fault

ALLOWED = 1e-5


def normal(*shape, seed=0, dtype=torch.float64):
    """Random numbers none of which is near to zero."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return x + 0.1 * x.sgn()


def put(x, where, value):
    x = x.clone()
    x[where] = value(x[where]) if callable(value) else value
    return x


def each_row(x, *factors):
    return x * torch.tensor(factors, dtype=x.dtype)[:, None]


KINDS = [
    ((4, 7), lambda g: g * 0, "it is zero"),
    ((4, 7), lambda g: put(g, (2, 3), math.nan), "1 of 28 elements is NaN, at [2, 3]"),
    ((4, 7), lambda g: put(g, (slice(1, 3), 3), math.inf), "2 of 28 elements are infinite, the first at [1, 3]"),
    ((4, 7), lambda g: g * math.nan, "all of it is NaN"),
    ((4, 7), lambda g: g.mT, "its shape is (7, 4), that of its transpose"),
    ((4, 7), lambda g: g[1:], "its shape is (3, 7)"),
    ((4, 7), lambda g: g + 1j, "it is complex"),
    ((4, 7), lambda g: -g, "its sign is wrong"),
    ((2,), lambda g: -g, "its sign is wrong"),
    ((4, 7), lambda g: put(g, (slice(1, 3), slice(1, 5)), torch.neg), "8 of 28 elements are of the wrong sign, "),
    ((4, 7), lambda g: g * 1.001, "it is scaled by 1.001"),
    ((4, 7), lambda g: g * 2.5, "it is scaled by 2.5"),
    ((4, 7), lambda g: g * -3, "it is scaled by -3"),
    ((4, 7), lambda g: g * 7, "it is scaled by 7, the length of axis 1"),
    ((4, 7), lambda g: g / 4, "it is scaled by 1/4, one over the length of axis 0"),
    ((4, 7), lambda g: g * 28, "it is scaled by 28, the number of its elements"),
    ((4, 7), lambda g: g + 0.01, "0.01 is added to each element"),
    ((6, 6), lambda g: g.mT, "it is transposed"),
    ((2, 6, 6), lambda g: g.mT, "axes 1 and 2 are swapped"),
    ((5, 4), lambda g: g.flip(0), "axis 0 is in reverse order"),
    ((5, 4), lambda g: put(g, 3, 0), "row 3 of axis 0 is missing"),
    ((5, 4), lambda g: put(g, (slice(None), [0, 2]), 0), "rows 0 and 2 of axis 1 are missing"),
    ((9, 4), lambda g: put(g, [1, 2, 5, 8], 0), "4 of 9 rows of axis 0, the first at 1, are missing"),
    ((4, 7), lambda g: put(g, g < 0, 0), "are zero, the first at [0, 0], all that should be negative"),
    ((5, 4), lambda g: g.roll(1, 1), "it is shifted by 1 along axis 1"),
    ((5, 4), lambda g: put(g.roll(-2, 0), [3, 4], 0), "it is shifted by -2 along axis 0"),
    ((9,), lambda g: g.roll(1), "it is shifted by 1 along axis 0"),
    ((5, 4), lambda g: g[[0, 3, 2, 1, 4]], "rows 1 and 3 of axis 0 are swapped"),
    ((5, 4), lambda g: g[[2, 0, 3, 1, 4]], "4 of 5 rows of axis 0, the first at 0, are in another order"),
    ((3, 4, 2), lambda g: g[:, [2, 1, 0, 3]], "rows 0 and 2 of axis 1 are swapped"),
    ((4, 7), lambda g: each_row(g, 1, 1, 3, 1), "row 2 of axis 0 is scaled by 3"),
    ((7, 4), lambda g: each_row(g.mT, 2, 1, 1, 2).mT, "rows 0 and 3 of axis 1 are scaled by 2"),
    ((4, 7), lambda g: each_row(g, 1, 2, 0.5, 1), "rows 1 and 2 of axis 0 are scaled by factors of their own"),
    ((4, 7), lambda g: each_row(g, 1.1, 2, 0.5, 3), "each row of axis 0 is scaled by a factor of its own"),
    ((4, 7), lambda g: put(g, (2, 3), lambda x: x * 1.01), "1 of 28 elements is off, at [2, 3]"),
    ((4, 7), lambda g: put(g, (2, 3), 0), "1 of 28 elements is off, at [2, 3], where it is zero"),
    ((9, 7), lambda g: put(g, ([1, 4, 8], [5, 2, 0]), lambda x: x + 0.3 * x**2), "3 of 63 elements are off, the first"),
    ((9, 7), lambda g: put(g, 8, lambda x: x + 0.3 * x**2), "only row 8 of axis 0 is off"),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "plant", "words"), KINDS, ids=[words for _, _, words in KINDS])
@pytest.mark.parametrize("rounding", [0.0, 1.0], ids=["exact", "rounded"])
@pytest.mark.parametrize("size", [1.0, 1e-200], ids=["", "tiny"])
def test_each_kind_of_fault_is_said(shape, plant, words, rounding, size):
    ours = normal(*shape) * size
    theirs = plant(normal(*shape)) * size
    noise = rounding * ALLOWED * size * (2 * torch.rand(theirs.shape, dtype=torch.float64) - 1)
    if rounding and words == "it is zero":
        words = "it is zero but for rounding"
    if "is added" in words and size < 1:
        words = "is added"
    found = fault(theirs + noise, ours, ALLOWED * size)
    assert words in found
    assert found == words or not words.endswith(tuple("0123456789")), found


@pytest.mark.parametrize("rounding", [0.0, ALLOWED])
def test_a_fault_of_complex_numbers_is_said(rounding):
    ours = normal(4, 5, dtype=torch.complex128)
    noise = rounding * torch.rand(4, 5, dtype=torch.complex128) / 2
    for theirs, words in [
        (ours.conj(), "it is the complex conjugate of what it should be"),
        (ours * 1.001, "it is scaled by 1.001"),
        (ours * 1j, "1j"),
        (ours[[1, 0, 2, 3]], "rows 0 and 1 of axis 0 are swapped"),
        (put(ours, 2, 0), "row 2 of axis 0 is missing"),
    ]:
        assert words in fault(theirs + noise, ours, ALLOWED)
    assert fault(ours.real, ours, ALLOWED) == "it is real"


def test_no_gradient_at_all_is_said():
    assert fault(None, normal(3), ALLOWED) == "there is none"


def test_what_should_be_zero_is_said():
    zero = torch.zeros(4, 5, dtype=torch.float64)
    assert fault(normal(4, 5), zero, ALLOWED) == "it should be zero"
    assert fault(zero + 0.25, zero, ALLOWED) == "0.25 is added to each element"
    assert fault(put(zero, (1, slice(None)), 1.0), zero, ALLOWED) == "only row 1 of axis 0 is off"


def test_a_number_where_the_reference_has_none_is_said():
    ours = put(normal(3, 4), (1, 2), math.nan)
    assert fault(normal(3, 4), ours, ALLOWED) == "1 of 12 elements is finite where NaN or infinity is right, at [1, 2]"
    assert fault(put(-ours, (1, 2), math.nan), ours, ALLOWED) == ""


def test_a_factor_below_the_rounding_of_each_element_is_said():
    ours = normal(50, 40)
    noise = 0.01 * (2 * torch.rand(50, 40, dtype=torch.float64) - 1)
    assert fault(ours * 1.002 + noise, ours, 0.02).startswith("it is scaled by 1.00")
    assert fault(ours + noise, ours, 0.02) == ""


@pytest.mark.parametrize("shape", [(1,), (2,), (3,), (17,), (2, 2), (3, 5), (4, 1), (1, 6), (2, 3, 4), (30, 20)])
@pytest.mark.parametrize("rounding", [0.0, 1e-6, 1e-3])
def test_nothing_is_said_of_garbage(shape, rounding):
    for seed in range(10):
        ours, theirs = normal(*shape, seed=seed), normal(*shape, seed=seed + 100)
        assert fault(theirs, ours, rounding) == ""
        wrong = fault(ours + 0.01 * theirs, ours, rounding)
        assert ours.numel() < 17 or wrong == ""


def test_nothing_is_said_of_an_error_little_above_rounding():
    ours = normal(30, 20)
    assert fault(ours + 1.5 * ALLOWED * (2 * torch.rand(30, 20, dtype=torch.float64) - 1), ours, ALLOWED) == ""
