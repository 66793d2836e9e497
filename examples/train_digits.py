# SPDX-License-Identifier: Apache-2.0
"""Train a ResNet-20 or a MobileNetV2 on real handwritten digits to 99 % and draw the curve.

python examples/train_digits.py [ResNet20 | MobileNetV2] [FOLDER]

1,437 digits of 8x8 pixels, enlarged to 32x32, are few for 0.3 to 0.4 million weights. What helps:
images moved by up to three pixels, anew in every epoch; targets that leave a tenth of certainty to
the other digits; a rate that warms up and then falls along half a cosine; decay of the weights,
though not of biases and normalizations.
"""

import os
import sys
import time
from pathlib import Path

import fastcnn
from fastcnn import applications, callbacks, optimizers, plots
from fastcnn.data import ShiftedImages


def resnet():
    """ResNet-20 for images of this size."""
    return applications.ResNet20(input_shape=(32, 32, 1))


def mobilenet():
    """MobileNetV2 halves an image five times, so it is shown a larger one."""
    image = fastcnn.Input((32, 32, 1))
    larger = fastcnn.layers.UpSampling2D(2)(image)
    net = applications.MobileNetV2(input_shape=(64, 64, 1), alpha=0.35, classes=10, dropout=0.0)
    return fastcnn.Model(image, net(larger))


# What draws the network, its highest rate, images in a batch, and passes over the digits.
RECIPES = {"ResNet20": (resnet, 0.1, 32, 30), "MobileNetV2": (mobilenet, 0.05, 16, 40)}
name = sys.argv[1] if len(sys.argv) > 1 else "ResNet20"
folder = Path(sys.argv[2] if len(sys.argv) > 2 else "trained")
draw, highest, batch, epochs = RECIPES[name]
epochs = int(os.environ.get("EPOCHS", epochs))

fastcnn.set_random_seed(1)
(x_train, y_train), (x_test, y_test) = fastcnn.datasets.digits.load_data(image_size=32)
mean, deviation = x_train.mean(), x_train.std()
x_train, x_test = (x_train - mean) / deviation, (x_test - mean) / deviation
batches = ShiftedImages(x_train, y_train, batch, shift=3, seed=1)

model = draw()
steps = epochs * len(batches)
warm = steps // 20
rate = optimizers.schedules.CosineDecay(0.0, steps - warm, warmup_target=highest, warmup_steps=warm)
optimizer = optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
loss = fastcnn.losses.SparseCategoricalCrossentropy(label_smoothing=0.1)
model.compile(optimizer, loss, metrics=["accuracy"])


class Curve(callbacks.Callback):
    """A line for every epoch, as short as can be."""

    def on_epoch_end(self, epoch, logs=None):
        """Loss in training, and accuracy on digits that are held out."""
        bar = "#" * round(60 * (logs["val_accuracy"] - 0.4) / 0.6)
        print(f"{epoch + 1:3} loss {logs['loss']:.4f} held out {logs['val_accuracy']:.2%} {bar}")


begin = time.perf_counter()
history = model.fit(
    batches, epochs=epochs, validation_data=(x_test, y_test), verbose=0, callbacks=[Curve()]
)
seconds = time.perf_counter() - begin
loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(f"{name}: {model.count_params():,} parameters, {epochs} epochs in {seconds:.0f} s")
print(f"test accuracy {accuracy:.4f}, {round((1 - accuracy) * len(y_test))} of {len(y_test)} wrong")
plots.training_curves(history.history, folder / f"{name}.png")
print(f"wrote {folder / name}.png")
