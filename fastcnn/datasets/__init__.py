# SPDX-License-Identifier: Apache-2.0
"""Small public image data sets: `digits` comes with the package, the others are downloaded."""

from fastcnn.datasets import cifar10, digits, fashion_mnist, mnist

__all__ = ["cifar10", "digits", "fashion_mnist", "mnist"]
