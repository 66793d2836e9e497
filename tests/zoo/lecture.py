# SPDX-License-Identifier: Apache-2.0
"""The network counted by hand in the lecture, and the residual networks for CIFAR-10."""

from zoo.row import Row

HE = "He et al. 2015, arXiv:1512.03385"

ROWS = (
    Row(
        "LectureC",
        parameters=2_103_156,
        # 32*32*8*27 + 16*16*16*200 + 4096*512 + 512*4
        macs=3_139_584,
        published_macs="3.14 M",
        output=(None, 4),
        source="Protopapas, Glickman, Tanner: CS109B, lecture 11",
        note="224 + 3,216 + 2,097,664 + 2,052; the slide's 2,099,716 counts the dense part alone",
    ),
    Row("ResNet20", 269_722, 40_551_040, "40.6 M", output=(None, 10), source=HE),
    Row("ResNet32", 464_154, 68_862_592, "68.9 M", output=(None, 10), source=HE),
    Row("ResNet44", 658_586, 97_174_144, "97.2 M", output=(None, 10), source=HE),
    Row("ResNet56", 853_018, 125_485_696, "125.5 M", output=(None, 10), source=HE),
)
