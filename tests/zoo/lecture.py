# SPDX-License-Identifier: Apache-2.0
"""The network counted by hand in the lecture."""

from zoo.row import Row

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
)
