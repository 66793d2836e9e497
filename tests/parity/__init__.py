# SPDX-License-Identifier: Apache-2.0
"""The networks against the public models that they equal; run by `make parity`, needs PyTorch."""
