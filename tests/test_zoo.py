# SPDX-License-Identifier: Apache-2.0
"""Every network of the zoo: parameters, multiply-accumulates, output shape."""

from pathlib import Path

import pytest

import zoo
from fastcnn import Input, Model, applications, layers
from zoo.page import page

UNITS = {"M": 1e6, "G": 1e9}


@pytest.mark.parametrize("row", zoo.ROWS, ids=str)
def test_counts(row):
    model = row.build()
    assert model.count_params() == row.parameters
    assert model.count_macs() == row.macs
    assert model.outputs[0].shape == row.output
    if row.total is not None:
        assert model.count_params(buffers=True) == row.total


@pytest.mark.parametrize("row", [r for r in zoo.ROWS if r.published_macs], ids=str)
def test_published_macs(row):
    """The exact count rounds to what the literature prints."""
    number, _, unit = row.published_macs.replace(",", "").partition(" ")
    decimals = len(number.partition(".")[2])
    assert f"{row.macs / UNITS.get(unit, 1):.{decimals}f}" == number


def test_every_network_has_a_row():
    assert {row.network for row in zoo.ROWS} == set(applications.BY_NAME)


def test_the_page_says_what_the_rows_say():
    """Made anew by: python tests/zoo/page.py > docs/zoo.md"""
    path = Path(__file__).parent.parent / "docs" / "zoo.md"
    assert path.read_text(encoding="utf-8") == page()


def test_the_example_of_the_page():
    model = applications.ResNet50(classes=10)
    assert f"# {model.count_params():,} and {model.count_macs():,}" in page()


def test_the_slide_of_separable_convolutions():
    """Multiplications are counted at the 8x8 output of a 5x5 convolution on 12x12."""
    image = Input((12, 12, 3))
    standard = Model(image, layers.Conv2D(256, 5)(image))
    separable = Model(image, layers.Conv2D(256, 1)(layers.DepthwiseConv2D(5)(image)))
    assert (standard.count_params(), separable.count_params()) == (19_456, 1_102)
    assert (standard.count_macs(), separable.count_macs()) == (1_228_800, 53_952)
