# SPDX-License-Identifier: Apache-2.0
"""GoogLeNet in its two forms, with and without its auxiliary classifiers."""

from zoo.row import Row

SOURCE = "Szegedy et al. 2014, arXiv:1409.4842"

ROWS = (
    Row(
        "GoogLeNet",
        6_624_904,
        1_498_376_192,
        "1.498 G",
        peer="torchvision:googlenet",
        peer_arguments={"aux_logits": False, "init_weights": False},
        source=SOURCE,
        note="3x3 filters where the paper has 5x5, batch normalization",
    ),
    Row(
        "GoogLeNet",
        13_004_888,
        1_506_748_416,
        arguments={"auxiliary": True},
        peer="torchvision:googlenet",
        peer_arguments={"aux_logits": True, "init_weights": False},
        source=SOURCE,
    ),
    Row(
        "GoogLeNet",
        6_998_552,
        1_582_671_872,
        "1.583 G",
        {"variant": "paper"},
        source=SOURCE,
    ),
    Row(
        "GoogLeNet",
        6_998_552 + 6_379_728,
        1_591_044_096,
        arguments={"variant": "paper", "auxiliary": True},
        source=SOURCE,
    ),
)
