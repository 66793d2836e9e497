# SPDX-License-Identifier: Apache-2.0
"""Networks from before 2012."""

from zoo.row import Row

ROWS = (
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
