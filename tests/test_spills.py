# SPDX-License-Identifier: Apache-2.0
"""The check of the assembly finds register tiles that do not fit the registers."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent.parent / ".ci" / "spills.py"

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="only in the repository")

# A tile of ROWS vectors, sixteen registers being all there are.
TILE = """
#include <immintrin.h>
#define ROWS(X) {rows}
#define BEGIN(i) __m256 s##i = _mm256_setzero_ps();
#define ADD(i) s##i = _mm256_fmadd_ps(_mm256_set1_ps(a[i]), b, s##i);
#define END(i) _mm256_storeu_ps(c + 8 * i, s##i);
void {name}(const float *a, const float *w, float *c, long n)
{{
    ROWS(BEGIN)
    for (long k = 0; k < n; k++, a += 64, w += 8) {{
        __m256 b = _mm256_loadu_ps(w);
        ROWS(ADD)
    }}
    ROWS(END)
}}
"""

LOOP = """
0000000000000000 <conv_strip_2>:
   0:\tpush   %rbp
   1:\tmov    %rsp,%rbp
  10:\tvmovups (%rax),%ymm1
{body}
  90:\tjne    10 <conv_strip_2+0x10>
  92:\tret
"""


@pytest.fixture
def spills(monkeypatch: Any) -> Any:
    spec = importlib.util.spec_from_file_location("spills", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ALLOWED", {})
    return module


def listing(*extra: str, fmas: int = 8) -> str:
    lines = [f"  {20 + i}:\tvfmadd231ps %ymm1,%ymm2,%ymm{i}" for i in range(fmas)]
    return LOOP.format(body="\n".join([*lines, *(f"  80:\t{line}" for line in extra)]))


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("vmovaps %ymm3,0x40(%rsp)", 1),
        ("vmovaps -0x50(%rbp),%ymm3", 1),
        ("vfmadd231ps -0x50(%rbp),%ymm1,%ymm2", 1),
        ("mov 0x40(%rsp),%rax", 0),
        ("vmovups (%rsi,%rbx,1),%ymm3", 0),
        ("vaddps %ymm3,%ymm4,%ymm5", 0),
    ],
)
def test_vectors_on_the_stack_are_counted(spills: Any, line: str, count: int) -> None:
    (loop,) = spills.hot_loops(listing(line), "ymm")
    assert len(loop.spills) == count
    found = spills.complaints("isa_avx2", [loop])
    assert len(found) == count
    assert all("conv_strip_2" in line for line in found)


def test_only_hot_innermost_loops_of_kernels_count(spills: Any) -> None:
    spill = "vmovaps %ymm3,0x40(%rsp)"
    assert spills.hot_loops(listing(spill, fmas=7), "ymm") == []
    assert spills.hot_loops(listing(spill), "zmm") == []
    assert spills.hot_loops(listing(spill).replace("conv_strip_2", "fc_f32_exp"), "ymm") == []
    outer = listing().replace("  92:", f"  91:\t{spill}\n  92:\tjne 1 <conv_strip_2+0x1>\n  94:")
    (loop,) = spills.hot_loops(outer, "ymm")
    assert loop.spills == ()


def test_what_is_allowed_is_listed_and_what_is_idle_said(spills: Any) -> None:
    spills.ALLOWED["isa_avx2", "conv_strip"] = "a reason"
    bad, good = (spills.hot_loops(listing(*s), "ymm") for s in (["vmovaps %ymm3,0x40(%rsp)"], []))
    assert spills.complaints("isa_avx2", bad) == []
    assert len(spills.complaints("isa_avx512", bad)) == 1
    assert spills.idle("isa_avx2", bad) == []
    assert len(spills.idle("isa_avx2", good)) == 1
    assert len(spills.complaints("isa_avx2", [])) == 1, "no loop at all is the wrong object"


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64")
    or not (shutil.which("gcc") and shutil.which("objdump")),
    reason="needs gcc and objdump on x86-64",
)
@pytest.mark.parametrize(("rows", "status"), [(12, 0), (24, 1)])
def test_a_tile_that_is_too_tall_is_caught(
    spills: Any, rows: int, status: int, tmp_path: Path, capsys: Any
) -> None:
    source, found = tmp_path / "isa_avx2.c", tmp_path / "isa_avx2.o"
    each = " ".join(f"X({i})" for i in range(rows))
    source.write_text(TILE.format(rows=each, name="conv_tile"))
    command = ["gcc", "-O3", "-mavx2", "-mfma", "-c", str(source), "-o", str(found)]
    subprocess.run(command, check=True)
    assert spills.main([str(found)]) == status
    assert ("conv_tile" in capsys.readouterr().out) == bool(status)
