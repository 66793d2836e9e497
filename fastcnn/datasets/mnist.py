# SPDX-License-Identifier: Apache-2.0
"""MNIST: 70,000 handwritten digits, 28x28.

Y. LeCun, C. Cortes, C. Burges, http://yann.lecun.com/exdb/mnist/.
"""

from __future__ import annotations

import os

from fastcnn.datasets._idx import UInt8, load_mnist_like

CLASS_NAMES = tuple("0123456789")

# Both hold the original files; the original site no longer serves them reliably.
MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
# SHA-256 of the files as first published. The same files have the MD5 sums that torchvision's
# MNIST class lists (f68b3c2d…, d53e105e…, 9fb629c4…, ec29112d…).
HASHES = {
    "train-images-idx3-ubyte.gz": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
    ),
    "train-labels-idx1-ubyte.gz": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
    ),
}


def load_data(
    path: str | os.PathLike[str] | None = None,
) -> tuple[tuple[UInt8, UInt8], tuple[UInt8, UInt8]]:
    """Load MNIST from its original files.

    Args:
        path: a folder with the four files, gzipped or not, also as torchvision lays them out.
            When None they are looked for in `$FASTCNN_HOME/datasets/mnist` and downloaded to it.

    Returns:
        (x_train, y_train), (x_test, y_test); x uint8 (n, 28, 28) in 0 … 255, y uint8 (n,).

    Raises:
        FileError: a file is missing and cannot be downloaded.
        DataError: a file is damaged or does not belong to the set.
    """
    return load_mnist_like("mnist", path, MIRRORS, HASHES, ("mnist", "MNIST/raw", "raw"))
