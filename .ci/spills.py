# SPDX-License-Identifier: Apache-2.0
"""Do the hot loops of the kernels keep their register tiles in registers?

    python .ci/spills.py build/temp.*/src_c/isa_avx2.o ...

A hot loop is an innermost loop, in a function of one of the families below, with eight or more
multiply-adds of whole vectors. In it, no vector may be loaded from the stack or stored there: the
compiler does that when a tile has more vectors than the machine has registers, and it can halve the
speed of a kernel without any test failing. Functions that may are listed in ALLOWED, each with the
reason.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MULTIPLY_ADDS = 8

# How the names of functions with register tiles begin.
FAMILIES = re.compile(
    r"(fc_f32_)?(panel|tile|row|winograd|depthwise|separable|grouped|conv|grad|packed|matmul|gray|stem|"
    r"scatter|few)"
)

# (object, beginning of the function's name): reason. What is needed no longer is printed.
_PATCH = (
    "a patch has 36 vectors, which wait between rows and columns; transforms are a few per cent"
)
_TAPS = (
    "taps of a window beside the sums of a strip are more than there are registers; the "
    "multiply-add takes them from the stack as it would from the filters"
)
_PARKED = "at stride 2 the compiler parks a tap for some multiply-adds of groups of four"
_UNREAD = "one row's vector is written to the stack in every round, and never read there"
ALLOWED: dict[tuple[str, str], str] = {
    ("isa_avx2", "winograd_output"): _PATCH,
    ("isa_avx2", "winograd_short_out"): _PATCH,
    ("isa_avx2", "winograd_transform_step"): _PATCH,
    ("isa_avx2", "fc_f32_winograd_conv2d_grad_kernel"): _PATCH,
    ("isa_avx2", "depthwise_5_"): _TAPS,
    ("isa_avx2", "depthwise_7_"): _TAPS,
    ("isa_avx2", "grouped_tile"): _PARKED,
    ("isa_avx512", "winograd_output"): _PATCH,
    ("isa_avx512", "winograd_short_out"): _PATCH,
    ("isa_avx512", "winograd_grad_output"): _PATCH,
    ("isa_avx512", "few_along_13"): _UNREAD,
    ("isa_avx512", "few_along_14"): _UNREAD,
}

_FUNCTION = re.compile(r"^[0-9a-f]+ <(.+)>:$")
_INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\s+(\S+)\s*([^#<]*)")
_STACK = re.compile(r"\(%rsp[,)]")
_FRAME = re.compile(r"\(%rbp[,)]")
_FMA = re.compile(r"vfn?m(add|sub)\d+ps$")


class Instruction(NamedTuple):
    """One line of assembly in AT&T's order: sources first."""

    address: int
    name: str
    operands: str


class Loop(NamedTuple):
    """An innermost loop of a function, as counts of its instructions."""

    function: str
    address: int
    multiply_adds: int
    spills: tuple[str, ...]


def functions(listing: str) -> Iterator[tuple[str, list[Instruction]]]:
    """The functions of what `objdump -d` prints."""
    name, found = "", list[Instruction]()
    for line in listing.splitlines():
        if match := _FUNCTION.match(line):
            if found:
                yield name, found
            name, found = match[1], []
        elif match := _INSTRUCTION.match(line):
            found.append(Instruction(int(match[1], 16), match[2], match[3].strip()))
    if found:
        yield name, found


def innermost(code: list[Instruction]) -> list[list[Instruction]]:
    """Stretches of code that end with a jump back to their beginning and hold no shorter one."""
    place = {instruction.address: i for i, instruction in enumerate(code)}
    ranges = set()
    for i, (address, name, operands) in enumerate(code):
        target = re.match(r"[0-9a-f]+", operands) if name.startswith("j") else None
        if target and int(target[0], 16) in place and int(target[0], 16) <= address:
            ranges.add((place[int(target[0], 16)], i))
    inner = [r for r in ranges if not any(r[0] <= q[0] and q[1] <= r[1] and q != r for q in ranges)]
    return [code[first : last + 1] for first, last in sorted(inner)]


def hot_loops(listing: str, register: str) -> list[Loop]:
    """The hot loops of an object whose whole vectors are "ymm" or "zmm"."""
    loops = []
    for name, code in functions(listing):
        if not FAMILIES.match(name):
            continue
        framed = any(i.name == "mov" and i.operands == "%rsp,%rbp" for i in code[:12])
        for body in innermost(code):
            wide = [i for i in body if f"%{register}" in i.operands]
            fmas = sum(bool(_FMA.match(i.name)) for i in wide)
            if fmas >= MULTIPLY_ADDS:
                on_stack = [
                    f"{i.address:x}: {i.name} {i.operands}"
                    for i in wide
                    if _STACK.search(i.operands) or (framed and _FRAME.search(i.operands))
                ]
                loops.append(Loop(name, body[0].address, fmas, tuple(on_stack)))
    return loops


def allowed(name: str, function: str) -> tuple[str, str] | None:
    """The entry of ALLOWED that excuses a function."""
    return next((key for key in ALLOWED if key[0] == name and function.startswith(key[1])), None)


def complaints(name: str, loops: list[Loop]) -> list[str]:
    """What is wrong with the loops of the object `name`, one line a function."""
    if not loops:
        return [f"{name}: no hot loop was found; is this an object of kernels?"]
    spilling: dict[str, list[Loop]] = {}
    for loop in loops:
        if loop.spills:
            spilling.setdefault(loop.function, []).append(loop)
    return [
        f"{name}: {function}: {len(bad)} hot loops touch the stack, the first with "
        f"{bad[0].multiply_adds} multiply-adds {len(bad[0].spills)} times, at {bad[0].spills[0]}"
        for function, bad in spilling.items()
        if allowed(name, function) is None
    ]


def idle(name: str, loops: list[Loop]) -> list[str]:
    """Entries of ALLOWED for the object `name` that nothing needs."""
    used = {allowed(name, loop.function) for loop in loops if loop.spills}
    return [
        f"{name}: {key[1]} spills no longer"
        for key in ALLOWED
        if key[0] == name and key not in used
    ]


def main(paths: list[str]) -> int:
    """Check objects named isa_<name>.o; 1 where a hot loop spills."""
    found = []
    for path in map(Path, paths):
        command = ["objdump", "-d", "--no-show-raw-insn", str(path)]
        listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        register = "zmm" if "avx512" in path.stem else "ymm"
        loops = hot_loops(listing, register)
        found += complaints(path.stem, loops)
        clean = sum(not loop.spills for loop in loops)
        print(f"{path.name}: {clean} of {len(loops)} hot loops stay in registers")
        print(
            "".join(f"{line}; strike it from ALLOWED\n" for line in idle(path.stem, loops)), end=""
        )
    print("\n".join(found), end="\n" if found else "")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
