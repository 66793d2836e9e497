# SPDX-License-Identifier: Apache-2.0
"""The ShuffleNets."""

from zoo.row import Row

ZHANG = "Zhang et al. 2017, arXiv:1707.01083"
MA = "Ma et al. 2018, arXiv:1807.11164"

# groups: parameters, exact and published multiply-accumulates
V1 = {
    1: (1_531_936, 143_078_976, "143.1 M"),
    2: (1_733_848, 140_836_512, "140.8 M"),
    3: (1_865_728, 137_460_672, "137.5 M"),
    4: (1_968_344, 134_339_776, "134.3 M"),
    8: (2_434_768, 138_365_952, "138.4 M"),
}

# scale: parameters, exact and published multiply-accumulates, name in torchvision
V2 = {
    0.5: (1_366_792, 40_476_448, "40.5 M", "shufflenet_v2_x0_5"),
    1.0: (2_278_604, 144_907_992, "144.9 M", "shufflenet_v2_x1_0"),
    1.5: (3_503_624, 295_759_392, "295.8 M", "shufflenet_v2_x1_5"),
    2.0: (7_393_996, 583_253_464, "583.3 M", "shufflenet_v2_x2_0"),
}

ROWS = (
    *(Row("ShuffleNet", *counts, {"groups": g}, source=ZHANG) for g, counts in V1.items()),
    Row("ShuffleNet", 5_450_776, 524_045_184, "524.0 M", {"scale": 2.0}, source=ZHANG),
    *(
        Row("ShuffleNetV2", *counts, {"scale": s}, peer=f"torchvision:{peer}", source=MA)
        for s, (*counts, peer) in V2.items()
    ),
)
