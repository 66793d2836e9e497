# SPDX-License-Identifier: Apache-2.0
"""A functional residual network with callbacks, written for Keras: only the import was changed."""

import os
import tempfile

import fastcnn as keras
from fastcnn import layers

EPOCHS = int(os.environ.get("EPOCHS", "15"))


def residual_block(x, filters, strides=1):
    """relu(F(x) + x), with a 1x1 convolution on the shortcut where the shape changes."""
    shortcut = x
    x = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(momentum=0.9)(x)
    x = layers.Activation("relu")(x)
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(momentum=0.9)(x)
    if strides != 1 or shortcut.shape[-1] != filters:
        shortcut = layers.Conv2D(filters, 1, strides=strides, use_bias=False)(shortcut)
        shortcut = layers.BatchNormalization(momentum=0.9)(shortcut)
    x = layers.Add()([x, shortcut])
    return layers.Activation("relu")(x)


keras.utils.set_random_seed(0)
(x_train, y_train), (x_test, y_test) = keras.datasets.digits.load_data()
y_train = keras.utils.to_categorical(y_train, num_classes=10)
y_test = keras.utils.to_categorical(y_test, num_classes=10)

inputs = keras.Input(shape=(8, 8, 1), name="image")
x = layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)
x = layers.BatchNormalization(momentum=0.9)(x)
x = layers.Activation("relu")(x)
x = residual_block(x, 16)
x = residual_block(x, 32, strides=2)
x = layers.GlobalAveragePooling2D()(x)
outputs = layers.Dense(10, activation="softmax", name="digit")(x)
model = keras.Model(inputs=inputs, outputs=outputs, name="small_resnet")
model.summary()

model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])

with tempfile.TemporaryDirectory() as folder:
    best = os.path.join(folder, "best.keras")
    model.fit(
        x_train,
        y_train,
        batch_size=32,
        epochs=EPOCHS,
        validation_split=0.1,
        verbose=2,
        callbacks=[
            keras.callbacks.EarlyStopping(
                monitor="val_loss", patience=5, restore_best_weights=True
            ),
            keras.callbacks.ModelCheckpoint(best, monitor="val_loss", save_best_only=True),
        ],
    )
    model = keras.models.load_model(best)

loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(f"test loss {loss:.4f}, test accuracy {accuracy:.4f}")
