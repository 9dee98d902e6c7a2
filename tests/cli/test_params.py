"""Option values: what is accepted, and what the rest is told."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genomeconv_cli.params import device, layer, size


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("8192", 8192),
        ("1,000", 1000),
        ("31,115,794", 31_115_794),
        ("64k", 64_000),
        ("64K", 64_000),
        ("1M", 1_000_000),
        ("1,024k", 1_024_000),
    ],
)
def test_size(text, value):
    assert size(text) == value


@given(st.integers(min_value=1, max_value=10**15))
def test_size_reads_every_number_with_and_without_commas(number):
    assert size(f"{number}") == size(f"{number:,}") == number


@pytest.mark.parametrize(
    "text",
    ["", "k", "-1", "1.5k", "1,00", "1,0000", ",100", "1 k", "64kb", "0x10", "\u0661"],
)
def test_what_is_no_size_is_told_what_is(text):
    with pytest.raises(click.BadParameter) as error:
        size(text)
    assert error.value.message == (
        f"{text!r} is not a size; write 8192, 1,000, 64k (64,000) or 1M (1,000,000)"
    )


@pytest.mark.parametrize("text", ["0", "0k", "9" * 30])
def test_a_size_out_of_range(text):
    with pytest.raises(click.BadParameter, match="out of range; 1 is the smallest"):
        size(text)


@pytest.mark.parametrize("text", ["auto", "cpu", "cuda", "cuda:0", "cuda:15"])
def test_device(text):
    assert device(text) == text


@pytest.mark.parametrize("text", ["gpu", "cuda:", "cuda:-1", "CPU", "cuda:0,1", "mps"])
def test_what_is_no_device(text):
    with pytest.raises(click.BadParameter) as error:
        device(text)
    assert error.value.message == (
        f"{text!r} is not a device; write auto, cpu, cuda or cuda:0"
    )


def test_layer():
    assert [layer("last"), layer("0"), layer("12")] == ["last", 0, 12]


@pytest.mark.parametrize("text", ["first", "-1", "1.0", ""])
def test_what_is_no_layer(text):
    with pytest.raises(click.BadParameter, match="is not a layer; write last or a num"):
        layer(text)
