# SPDX-License-Identifier: Apache-2.0
"""Train a LeNet on real handwritten digits and ask it why: the pictures of docs/explain.md.

python examples/explain_digits.py [FOLDER]
"""

import os
import sys
from pathlib import Path

import numpy as np

import fastcnn
from fastcnn import explain, layers
from fastcnn.utils.figures import new_figure, write_figure

EPOCHS = int(os.environ.get("EPOCHS", "8"))
folder = Path(sys.argv[1] if len(sys.argv) > 1 else "explained")

fastcnn.set_random_seed(1)
(x_train, y_train), (x_test, y_test) = fastcnn.datasets.digits.load_data(image_size=32)
model = fastcnn.Sequential(
    [
        fastcnn.Input((32, 32, 1)),
        layers.Conv2D(8, 5, activation="relu", name="c1"),
        layers.MaxPooling2D(2, name="p1"),
        layers.Conv2D(16, 5, activation="relu", name="c2"),
        layers.MaxPooling2D(2, name="p2"),
        layers.Flatten(),
        layers.Dense(64, activation="relu", name="f1"),
        layers.Dense(10, activation="softmax", name="digit"),
    ]
)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x_train, y_train, epochs=EPOCHS, verbose=0)
print(f"accuracy {model.evaluate(x_test, y_test, verbose=0)[1]:.1%}")

# One digit of each of five classes.
chosen = [int(np.flatnonzero(y_test == digit)[1]) for digit in (0, 2, 3, 6, 8)]
x, y = x_test[chosen], y_test[chosen]
names = [f"digit {digit}" for digit in y]

maps = {
    "saliency": explain.saliency(model, x, y),
    "smooth_grad": explain.smooth_grad(model, x, y),
    "guided_backprop": explain.guided_backprop(model, x, y),
    "integrated_gradients": explain.integrated_gradients(model, x, y),
    "lrp": explain.lrp(model, x, y),
    "occlusion": explain.occlusion(model, x, y, window=6, strides=2),
    "grad_cam of c2": explain.grad_cam(model, x, y, "c2"),
}
explain.show(x, maps, folder / "methods.png", captions=names)

for method in (explain.saliency, explain.integrated_gradients, explain.guided_backprop):
    print(f"{method.__name__}: {explain.check(model, x_test[:32], method=method)}")

# What the strongest units of four channels have seen: patches, and what the deconvnet finds there.
patches, projections = [], []
for channel in range(4):
    for patch in explain.top_patches(model, "c2", channel, x_test, 6):
        image = x_test[patch.image : patch.image + 1]
        projection = explain.deconvnet(model, image, "c2", channel)[0][patch.box]
        patches.append(patch.pixels)
        bound = np.abs(projection).max() or 1.0
        projections.append(0.5 + projection / (2 * bound))
sheets = [explain.grid(np.stack(pictures), columns=6) for pictures in (patches, projections)]
dreams = [explain.maximize_activation(model, digit) for digit in range(10)]

figure = new_figure(9.6, 3.4)
for place, sheet, title in zip(
    figure.subplots(1, 3, width_ratios=[1.5, 1.5, 1.9]).flat,
    [*sheets, explain.grid(np.stack(dreams), columns=5)],
    ["strongest patches of 4 channels of c2", "seen there by the deconvnet", "images of 0 to 9"],
    strict=True,
):
    place.imshow(sheet[..., 0], cmap="gray", vmin=0, vmax=1)
    place.set_title(title, fontsize=9.5)
    place.axis("off")
write_figure(figure, folder / "features.png")
print(f"wrote {folder / 'methods.png'} and {folder / 'features.png'}")
