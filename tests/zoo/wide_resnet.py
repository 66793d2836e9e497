# SPDX-License-Identifier: Apache-2.0
"""Wide residual networks for CIFAR-10."""

from zoo.row import Row

ZAGORUYKO = "Zagoruyko and Komodakis 2016, arXiv:1605.07146"


def wide(depth: int, width: int, parameters: int, macs: int, published: str) -> Row:
    """WRN-depth-width."""
    arguments = {"depth": depth, "width": width}
    return Row("WideResNet", parameters, macs, published, arguments, (None, 10), source=ZAGORUYKO)


ROWS = (
    wide(28, 10, 36_479_194, 5_243_328_768, "5,243.3 M"),
    wide(16, 8, 10_961_370, 1_548_145_664, "1,548.1 M"),
    wide(40, 4, 8_949_210, 1_298_582_016, "1,298.6 M"),
)
