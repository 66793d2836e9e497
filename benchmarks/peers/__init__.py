# SPDX-License-Identifier: Apache-2.0
"""fastcnn and other engines side by side: the same networks, weights, images and threads.

    make peers                                  everything; ARGS goes to the program below
    PYTHONPATH=benchmarks python -m peers       with --help for its options

cases      which networks, at which batch
source     a case made with PyTorch: weights, images, the right answer
engines    fastcnn and its peers: what each is given, with which settings
worker     one engine in a process of its own, asked in lines of JSON
process    the other end of that pipe
rounds     bursts of all engines in turns, within one run
results    what was measured, as numbers and as a file
report     the same as Markdown;  chart: as a picture
footprint  peak memory, and the time from a process' start to its first result

Absolute times change from machine to machine and from day to day. What counts is a ratio of times
that were measured in one run.
"""
