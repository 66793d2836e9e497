# SPDX-License-Identifier: Apache-2.0
"""What layers do, one step at a time, as text, as a picture or as an animation.

    lesson = fastcnn.teach.maxpool(x, pool_size=3, strides=1, dy=dy)
    print(lesson)               # every step as text
    lesson.save("maxpool.gif")  # or .png: all steps on one sheet
    lesson.arrays["dx"]         # what the steps add up to

All numbers come from `fastcnn.ops`: a sum that grows is the engine's gradient for the part of `dy`
that has been passed back so far.
"""

from fastcnn.teach.convolution import conv as conv
from fastcnn.teach.fields import receptive_field as receptive_field
from fastcnn.teach.lesson import Frame as Frame
from fastcnn.teach.lesson import Lesson as Lesson
from fastcnn.teach.pooling import maxpool as maxpool
