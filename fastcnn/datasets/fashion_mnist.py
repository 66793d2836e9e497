# SPDX-License-Identifier: Apache-2.0
"""Fashion-MNIST: 70,000 pictures of clothes, 28x28.

H. Xiao, K. Rasul, R. Vollgraf (2017), arXiv:1708.07747; Zalando SE, MIT licence.
"""

from __future__ import annotations

import os

from fastcnn.datasets._idx import UInt8, load_mnist_like

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

# The authors' repository, then the store their readme links to.
MIRRORS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)
# SHA-256 of the published files. The same files have the MD5 sums in the authors' readme
# (8d4fb7e6…, 25c81989…, bef4ecab…, bb300cfd…).
HASHES = {
    "train-images-idx3-ubyte.gz": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
    ),
    "train-labels-idx1-ubyte.gz": (
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
    ),
}


def load_data(
    path: str | os.PathLike[str] | None = None,
) -> tuple[tuple[UInt8, UInt8], tuple[UInt8, UInt8]]:
    """Load Fashion-MNIST from its original files.

    Args:
        path: a folder with the four files, gzipped or not, also as torchvision lays them out.
            When None they are looked for in `$FASTCNN_HOME/datasets/fashion_mnist` and
            downloaded to it.

    Returns:
        (x_train, y_train), (x_test, y_test); x uint8 (n, 28, 28) in 0 … 255, y uint8 (n,).

    Raises:
        FileError: a file is missing and cannot be downloaded.
        DataError: a file is damaged or does not belong to the set.
    """
    folders = ("fashion_mnist", "FashionMNIST/raw", "raw")
    return load_mnist_like("fashion_mnist", path, MIRRORS, HASHES, folders)
