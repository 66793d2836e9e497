# SPDX-License-Identifier: Apache-2.0
"""How many threads there are by default: affinity, control groups, what the environment says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from fastcnn.backends import threads
from fastcnn.errors import BackendError

MANY = 1 << 16
CGROUP = "sys/fs/cgroup"


def machine(root: Path, groups: str, files: Mapping[str, str]) -> str:
    """A machine whose process is in `groups`, with these files below /sys/fs/cgroup."""
    for name, text in {
        "proc/self/cgroup": groups,
        **{f"{CGROUP}/{n}": files[n] for n in files},
    }.items():
        if text:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
    return str(root)


def granted(root: Path, groups: str, **files: str) -> int:
    return threads._cgroup_quota(machine(root, groups, files))


@pytest.mark.parametrize(
    ("text", "processors"),
    [
        ("400000 100000", 4),
        ("50000 100000", 1),
        ("1000 100000", 1),
        ("100000 100000", 1),
        ("250000 100000", 2),
        ("299999 100000", 2),
        ("30000 10000", 3),
        ("max 100000", MANY),
        ("", MANY),  # no such file
        ("400000", MANY),
        ("400000 0", MANY),
        ("words of something", MANY),
    ],
)
def test_quota_of_version_2(text: str, processors: int, tmp_path: Path) -> None:
    assert granted(tmp_path, "0::/", **{"cpu.max": text}) == processors


@pytest.mark.parametrize(
    ("quota", "period", "processors"),
    [
        ("400000", "100000", 4),
        ("50000", "100000", 1),
        ("250000", "100000", 2),
        ("-1", "100000", MANY),
        ("0", "100000", MANY),
        ("", "100000", MANY),
        ("400000", "", MANY),
    ],
)
@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_quota_of_version_1(
    mount: str, quota: str, period: str, processors: int, tmp_path: Path
) -> None:
    files = {f"{mount}/a/cpu.cfs_quota_us": quota, f"{mount}/a/cpu.cfs_period_us": period}
    groups = "5:memory:/m\n4:cpu,cpuacct:/a\n1:name=systemd:/s"
    assert granted(tmp_path, groups, **files) == processors


@pytest.mark.parametrize(
    ("quotas", "processors"),
    [
        ({"a/b": "300000 100000"}, 3),
        ({"a": "300000 100000", "a/b": "max 100000"}, 3),
        ({"a": "300000 100000", "a/b": "500000 100000"}, 3),
        ({"a": "300000 100000", "a/b": "200000 100000"}, 2),
        ({"a": "300000 100000", "a/c": "100000 100000"}, 3),  # not ours
        ({"a": "300000 100000", "a/b/c": "100000 100000"}, 3),  # below ours
        ({".": "100000 100000", "a": "300000 100000"}, 1),
    ],
)
@pytest.mark.parametrize("mount", [".", "unified"])
def test_the_least_quota_on_the_way_to_the_root_counts(
    mount: str, quotas: Mapping[str, str], processors: int, tmp_path: Path
) -> None:
    files = {f"{mount}/{group}/cpu.max": text for group, text in quotas.items()}
    assert granted(tmp_path, "0::/a/b", **files) == processors


def test_both_versions_count(tmp_path: Path) -> None:
    files = {
        "unified/u/cpu.max": "500000 100000",
        "cpu/v/cpu.cfs_quota_us": "300000",
        "cpu/v/cpu.cfs_period_us": "100000",
    }
    assert granted(tmp_path, "3:cpu:/v\n0::/u", **files) == 3


def test_a_container_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    """Its path may be the host's, or lie beside what it sees."""
    for number, groups in enumerate(("0::/system.slice/docker-12.scope", "0::/../other", "")):
        files = {"cpu.max": "200000 100000"}
        assert granted(tmp_path / str(number), groups, **files) == 2


def test_a_group_may_have_any_name(tmp_path: Path) -> None:
    name = "a:b\udcff"
    path = tmp_path / CGROUP / name
    path.mkdir(parents=True)
    (path / "cpu.max").write_text("200000 100000")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_bytes(f"0::/{name}\n".encode(errors="surrogateescape"))
    assert threads._cgroup_quota(str(tmp_path)) == 2


def test_the_default_is_the_lesser_of_affinity_and_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTCNN_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 4, 6}, raising=False)
    for quota, count in ((MANY, 3), (4, 3), (2, 2)):
        monkeypatch.setattr(threads, "_cgroup_quota", lambda quota=quota: quota)
        assert threads.default_num_threads() == count


def test_where_there_is_no_affinity_all_processors_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTCNN_NUM_THREADS", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(threads, "_cgroup_quota", lambda: MANY)
    for processors, count in ((7, 7), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda processors=processors: processors)
        assert threads.default_num_threads() == count


def test_the_environment_overrules_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_cgroup_quota", lambda: 1)
    monkeypatch.setenv("FASTCNN_NUM_THREADS", "5")
    assert threads.default_num_threads() == 5
    monkeypatch.setenv("FASTCNN_NUM_THREADS", "0.5")
    with pytest.raises(BackendError, match=r"FASTCNN_NUM_THREADS='0\.5'"):
        threads.default_num_threads()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_a_process_on_one_processor_has_one_thread() -> None:
    code = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "import fastcnn; print(fastcnn.get_num_threads())"
    )
    given = {k: v for k, v in os.environ.items() if k != "FASTCNN_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=given, check=True, capture_output=True, text=True
    )
    assert done.stdout == "1\n"


def test_a_wrong_number_is_an_error_of_what_runs_not_of_an_import() -> None:
    """One sentence from the command line, and nothing happens by being imported."""
    given = {**os.environ, "FASTCNN_NUM_THREADS": "many"}
    imports = "import fastcnn.layers, fastcnn.ops, fastcnn.backends.reference"
    subprocess.run([sys.executable, "-c", imports], env=given, check=True)
    command = [sys.executable, "-m", "fastcnn", "config"]
    found = subprocess.run(command, env=given, capture_output=True, text=True)
    assert found.returncode == 2
    assert found.stderr == (
        "fastcnn: FASTCNN_NUM_THREADS='many' is not a number of threads; give 1 to 1024\n"
    )


def printed(*lines: str, threads: str) -> list[str]:
    """Words that these lines print in a process of their own."""
    given = {**os.environ, "FASTCNN_NUM_THREADS": threads}
    output = subprocess.check_output([sys.executable, "-c", "\n".join(lines)], env=given, text=True)
    return output.split()


def test_reference_kernels_follow_the_number() -> None:
    found = printed(
        "from fastcnn import get_num_threads, set_num_threads",
        "get_num_threads()",
        "from fastcnn.backends import _reference",
        "print(_reference.get_num_threads())",
        "set_num_threads(2)",
        "print(_reference.get_num_threads())",
        threads="3",
    )
    assert found == ["3", "2"]


def test_the_first_eager_op_on_float64_asks_the_environment() -> None:
    found = printed(
        "import numpy as np",
        "from fastcnn import ops",
        "ops.conv2d(np.ones((1, 3, 3, 1)), np.ones((2, 2, 1, 1)))",
        "from fastcnn.backends import _reference",
        "print(_reference.get_num_threads())",
        threads="3",
    )
    assert found == ["3"]
