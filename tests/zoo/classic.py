# SPDX-License-Identifier: Apache-2.0
"""Networks from before 2012."""

from zoo.row import Row

ROWS = (
    Row(
        "Neocognitron",
        # (5*5*1 + 1)*24 + 2*(5*5*24 + 1)*24
        parameters=29_472,
        # S: 16*16*25*25 + 8*8*600*25 + 2*2*600*25; C: (10*10*25 + 6*6*25 + 1*1*4)*24
        macs=1_261_696,
        output=(None, 24),
        source="Fukushima 1980, Biol. Cybernetics 36",
        note="weights that learn without a teacher; 16x16, the paper prints no count",
    ),
    Row(
        "LeCun1989",
        parameters=9_760,
        macs=82_860,
        output=(None, 10),
        source="LeCun et al. 1989, Neural Computation 1(4)",
        note="64,660 connections; which 8 of 12 maps feed H2 is not in the paper. The MACs are "
        "those that run, with zeros for the connections that H2 lacks",
    ),
    Row(
        "TDNN",
        parameters=515,
        macs=6_072,
        output=(None, 3),
        source="Waibel et al. 1989, IEEE Trans. ASSP 37(3)",
        note="392 + 123; the output adds up over time",
    ),
    Row(
        "LeNet5",
        parameters=60_000,
        macs=415_680,
        arguments={"variant": "1998"},
        output=(None, 10),
        total=60_840,
        source="LeCun et al. 1998, Proc. IEEE 86(11)",
        note="340,908 connections; the fixed bitmaps of the output are no parameters. The MACs are "
        "those that run, with zeros for the connections that C3 lacks",
    ),
    Row(
        "LeNet5",
        parameters=61_706,
        macs=416_520,
        published_macs="416,520",
        output=(None, 10),
        source="LeCun et al. 1998, Proc. IEEE 86(11)",
        note="as taught",
    ),
)
