# SPDX-License-Identifier: Apache-2.0
"""Models as ONNX files, out and in."""

from fastcnn.onnx.export import export as export
