# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of fastcnn, run by asv on every version of it.

Rules: shapes, networks and names here never change, they are only added to, so that a number means
the same thing on every commit; nothing is imported from the tests or from a module that today's
version has and last year's had not; under 10 % on a shared machine is noise.
"""
