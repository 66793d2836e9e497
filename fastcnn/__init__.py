# SPDX-License-Identifier: Apache-2.0
"""fastcnn: convolutional networks, trained and run fast on ordinary CPUs."""
