# SPDX-License-Identifier: Apache-2.0
"""Residual networks for CIFAR-10 with 6n + 2 layers."""

from zoo.row import Row

HE = "He et al. 2015, arXiv:1512.03385, section 4.2"

ROWS = (
    Row("ResNet20", 269_722, 40_551_040, "40.6 M", output=(None, 10), source=HE),
    Row("ResNet32", 464_154, 68_862_592, "68.9 M", output=(None, 10), source=HE),
    Row("ResNet44", 658_586, 97_174_144, "97.2 M", output=(None, 10), source=HE),
    Row("ResNet56", 853_018, 125_485_696, "125.5 M", output=(None, 10), source=HE),
    Row("ResNet110", 1_727_962, 252_887_680, "252.9 M", output=(None, 10), source=HE),
)
