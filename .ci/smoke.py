# SPDX-License-Identifier: Apache-2.0
"""What an installed fastcnn must do with nothing but NumPy and safetensors beside it."""

import platform
import tempfile
from pathlib import Path

import numpy as np

import fastcnn


def network() -> fastcnn.Model:
    layers = fastcnn.layers
    model = fastcnn.Sequential(
        [
            fastcnn.Input((8, 8, 1)),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )
    model.compile(
        optimizer=fastcnn.optimizers.SGD(learning_rate=0.05),
        loss=fastcnn.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def main() -> None:
    fastcnn.set_random_seed(0)
    random = np.random.default_rng(0)
    x = random.uniform(size=(16, 8, 8, 1)).astype(np.float32)
    y = random.integers(0, 10, 16)
    model = network()
    losses = [float(model.train_on_batch(x, y)) for _ in range(20)]
    assert losses[-1] < losses[0], losses
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "smoke.fastcnn"
        model.save(path)
        again = fastcnn.models.load_model(path)
        model.export(path.with_suffix(".plan"), format="plan", input_shape=x.shape)
        plan = fastcnn.deploy.load(path.with_suffix(".plan"))
    np.testing.assert_array_equal(model.predict_on_batch(x), again.predict_on_batch(x))
    np.testing.assert_array_equal(model.predict_on_batch(x), plan.predict_on_batch(x))
    print(
        f"fastcnn {fastcnn.__version__}, Python {platform.python_version()}, NumPy {np.__version__}"
    )
    fastcnn.show_config()


if __name__ == "__main__":
    main()
