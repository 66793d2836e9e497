# SPDX-License-Identifier: Apache-2.0
"""Build: one static library per instruction set, each with its own flags, and two extensions.

FASTCNN_BUILD_ISA=scalar,avx2   compile only these (quick loops); default: all the machine's family
FASTCNN_BUILD_DEBUG=1           assertions, -O1 -g;   FASTCNN_BUILD_SANITIZE=address,undefined
FASTCNN_BUILD_EMULATE=avx512    AVX-512 in AVX2's instructions, to test it anywhere; needs SIMDe
"""

import hashlib
import os
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from glob import glob

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_clib import build_clib

# Distinct thin source per ISA: one source in two libraries would silently share its object.
# gnu99, not c99: -std=c99 turns contraction to fused multiply-adds off.
ISA_FLAGS = {
    "scalar": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mavx2", "-mprfchw"]
    + ["-mprefer-vector-width=512"],
}


def isas() -> list[str]:
    """Instruction sets to compile on this machine."""
    known = list(ISA_FLAGS) if platform.machine() in ("x86_64", "AMD64") else ["scalar"]
    asked = os.environ.get("FASTCNN_BUILD_ISA", "").split(",")
    chosen = [isa for isa in asked if isa] or known
    unknown = sorted(set(chosen) - set(known))
    if unknown:
        sys.exit(f"FASTCNN_BUILD_ISA names {unknown}; this machine can build {known}")
    return sorted({"scalar", *chosen}, key=known.index)


EMULATE = os.environ.get("FASTCNN_BUILD_EMULATE", "")
if EMULATE not in ("", "avx512"):
    sys.exit(f"FASTCNN_BUILD_EMULATE names '{EMULATE}'; only avx512 can be emulated")
if EMULATE:
    # Vectors of half the width do the work; what the compiler says of passing them is of no use.
    ISA_FLAGS[EMULATE] = [*ISA_FLAGS["avx2"], "-O1", "-Wno-psabi", "-Isrc_c/emulate"]

DEBUG = bool(os.environ.get("FASTCNN_BUILD_DEBUG"))
SANITIZE = os.environ.get("FASTCNN_BUILD_SANITIZE", "")
# The kernels' threads are our own (runtime.c); OpenMP is for the reference kernels.
OPENMP = [] if sys.platform == "darwin" else ["-fopenmp"]
COMMON = ["-std=gnu99", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-pthread"]
COMMON += ["-O1", "-g"] if DEBUG else ["-O3", "-DNDEBUG", "-fno-math-errno", "-fno-trapping-math"]
SANITIZER = [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer"] if SANITIZE else []
# Python's own flags may ask for debug information: much of the compiler's time, for what linking
# strips anyway.
UNSEEN = [] if DEBUG or SANITIZE else ["-g0"]
COMMON += SANITIZER + UNSEEN

HEADERS = sorted([*glob("src_c/*.h"), *glob("src_c/kernels/*.h"), "src_c/kernels.def"])
SOURCES = sorted(glob("src_c/*.c"))
RUNTIME = [s for s in SOURCES if not s.startswith("src_c/isa_")]


def fingerprint() -> str:
    """Of all that decides how kernels read packed weights: exported plans carry it."""
    found = hashlib.sha256()
    for path in [*HEADERS, *SOURCES]:
        with open(path, "rb") as file:
            found.update(file.read())
    return found.hexdigest()[:16]


def library(name: str, sources: list[str], flags: list[str], macros: list) -> tuple:
    """One entry of setuptools' `libraries`, rebuilt when any header changes."""
    build = {"sources": sources, "cflags": [*COMMON, *flags], "include_dirs": ["src_c"]}
    build["macros"] = macros
    # The runtime carries the fingerprint of all sources.
    depends = HEADERS + (SOURCES if sources == RUNTIME else [])
    build["obj_deps"] = {"": depends, **dict.fromkeys(sources, depends)}
    return name, build


have = [(f"FC_HAVE_{isa.upper()}", "1") for isa in isas()]
have += [("FC_EMULATE_AVX512", "1")] if EMULATE else []
libraries = [
    library(f"fastcnn_{isa}", [f"src_c/isa_{isa}.c"], flags, [])
    for isa, flags in ISA_FLAGS.items()
    if isa in isas()
]
have += [("FC_BUILD", f'"{fingerprint()}"')]
runtime = library("fastcnn_runtime", RUNTIME, [], have)

EXTENSION = {
    "include_dirs": ["src_c", numpy.get_include()],
    "define_macros": [("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
    "extra_compile_args": ["-O3", *OPENMP, *SANITIZER, *UNSEEN],
    "extra_link_args": ["-pthread", *OPENMP, *SANITIZER] + (["-s"] if UNSEEN else []),
}
extensions = [
    Extension(
        "fastcnn.backends._cpu",
        ["fastcnn/backends/_cpu.pyx"],
        # Static libraries are searched left to right: the runtime names the tables.
        libraries=["fastcnn_runtime", *(f"fastcnn_{isa}" for isa in isas())],
        depends=[*HEADERS, *SOURCES],
        **EXTENSION,
    ),
    Extension("fastcnn.backends._reference", ["fastcnn/backends/_reference.pyx"], **EXTENSION),
]


class BuildLibraries(build_clib):
    """Compiles libraries side by side: each is one source that takes a minute or more."""

    command_name = "build_clib"  # by which configuration files know it, as DIST_EXTRA_CONFIG

    def build_libraries(self, libraries: list[tuple]) -> None:
        build = super().build_libraries
        # The widest vectors first: they take longest, and nobody should wait for them alone.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda library: build([library]), reversed(libraries)))


setup(
    cmdclass={"build_clib": BuildLibraries},
    options={"build_ext": {"parallel": True}},
    libraries=[runtime, *libraries],
    ext_modules=cythonize(
        extensions,
        compiler_directives={"language_level": "3", "embedsignature": True},
    ),
)
