# SPDX-License-Identifier: Apache-2.0
"""Every network of the zoo: parameters, multiply-accumulates, output shape."""

import pytest

import zoo
from fastcnn import applications

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
