# SPDX-License-Identifier: Apache-2.0
"""What runs the pages of docs/lecture: outputs, measured numbers, and what it refuses.

`make docs ARGS=--check` runs the pages themselves.
"""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

DOCS = Path(__file__).parents[1] / "docs"
LECTURE = DOCS / "lecture"
PAGES = sorted(LECTURE.glob("*.md"))

_spec = importlib.util.spec_from_file_location("run_pages", DOCS / "run_pages.py")
run_pages = importlib.util.module_from_spec(_spec)
sys.modules["run_pages"] = run_pages  # dataclasses look their module up
_spec.loader.exec_module(run_pages)

PAGE = """# A page

```python
x = 2
print(x)
```

```text
1
```

Words.

```python
from pathlib import Path

Path("pictures").mkdir(exist_ok=True)
Path("pictures/a.png").write_text("")
print(x + 1)
```

![a picture](pictures/a.png)

```python
x = 0
```

```text
it prints nothing any more
```
"""
RAN = (
    PAGE.replace("1\n```", "2\n```")
    .replace("print(x + 1)\n```\n", "print(x + 1)\n```\n\n```text\n3\n```\n")
    .replace("\n```text\nit prints nothing any more\n```\n", "")
)


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return path


class TestRunning:
    def test_outputs_stand_behind_their_blocks(self, page):
        result = run_pages.write(page)
        assert result.problems == []
        assert page.read_text() == result.text == RAN
        # And once more changes nothing.
        assert run_pages.write(page).text == RAN

    def test_check_writes_nothing_and_shows_what_differs(self, page, tmp_path):
        result = run_pages.check(page)
        assert page.read_text() == PAGE
        assert [path.name for path in tmp_path.iterdir()] == ["page.md"]
        differs, missing = result.problems
        assert "prints something else; run: make docs" in differs
        assert "\n-1\n+2\n" in differs
        assert "shows pictures/a.png, which is not there" in missing

    def test_check_of_a_page_that_has_run(self, page):
        run_pages.write(page)
        assert run_pages.check(page).problems == []

    def test_an_error_names_the_line_and_leaves_the_page(self, page):
        page.write_text(PAGE.replace("x + 1", "x + y"))
        (problem,) = run_pages.write(page).problems
        assert 'page.md", line 19' in problem
        assert "NameError: name 'y' is not defined" in problem
        assert page.read_text() == PAGE.replace("x + 1", "x + y")

    def test_a_picture_nobody_makes(self, page):
        page.write_text(PAGE.replace("(pictures/a.png)", "(pictures/b.png)"))
        (problem,) = run_pages.write(page).problems
        assert problem.endswith("shows pictures/b.png, which its code does not make")

    def test_the_folder_is_left_again(self, page):
        before = Path.cwd()
        run_pages.check(page)
        assert Path.cwd() == before


class TestMeasuredNumbers:
    @pytest.mark.parametrize(
        ("old", "new", "alike"),
        [
            ("a ≈ 97 %\n", "a ≈ 98 %\n", True),
            ("a ≈ 9.8 times  b\n", "a ≈ 10.2 times b\n", True),
            ("≈ 1,000 and 5\n", "≈ 1,300 and 5\n", True),
            ("≈ 1,000 and 5\n", "≈ 1,000 and 6\n", False),
            ("≈ 10\n", "≈ 20\n", False),
            ("≈ -2\n", "≈ 2\n", False),
            ("97 %\n", "98 %\n", False),
            ("a  b\n", "a b\n", False),
            ("≈ 1\n", "≈ 1\n≈ 1\n", False),
        ],
    )
    def test_may_differ_a_little(self, old, new, alike):
        assert run_pages.alike(old, new) is alike

    def test_stay_as_they_are_on_the_page(self, page):
        page.write_text("```python\nprint('≈ 98 %')\n```\n\n```text\n≈ 97 %\n```\n")
        text = page.read_text()
        assert run_pages.write(page).text == text
        assert run_pages.check(page).problems == []
        page.write_text(text.replace("97", "50"))
        assert "≈ 98 %\n```" in run_pages.write(page).text


def test_the_command(page, tmp_path):
    """Pages run in processes of their own; a picture that no page shows is told."""

    def command(*arguments):
        line = [sys.executable, str(DOCS / "run_pages.py"), str(tmp_path), *arguments]
        return subprocess.run(line, capture_output=True, text=True)

    assert command("--check").returncode == 1
    ran = command()
    assert (ran.returncode, ran.stdout) == (0, "1 pages run.\n")
    assert command("--check").stdout == "1 pages are as they run.\n"
    (tmp_path / "pictures" / "old.png").write_text("")
    told = command("--check")
    assert told.returncode == 1
    assert "old.png is shown by no page; remove it" in told.stderr


class TestLecture:
    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
    def test_links_and_pictures_are_there(self, page):
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if "://" in target:
                continue
            name, _, heading = target.partition("#")
            linked = page.parent / name
            assert linked.is_file(), target
            if heading:
                titles = re.findall(r"^#+ (.*)$", linked.read_text(), re.M)
                anchors = {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}
                assert heading in anchors, target

    @pytest.mark.parametrize(
        "picture", sorted(LECTURE.glob("pictures/*")), ids=lambda picture: picture.name
    )
    def test_pictures_can_be_read(self, picture):
        with Image.open(picture) as image:
            for frame in range(getattr(image, "n_frames", 1)):
                image.seek(frame)
                image.load()
            assert min(image.size) > 200

    def test_it_stays_small(self):
        assert sum(file.stat().st_size for file in LECTURE.rglob("*")) < 2_000_000

    @pytest.mark.parametrize(
        ("page", "lines"),
        [
            ("1-review", ["1 × 3 × 3 × 3 + 1 = 28", "8 × 3 × 3 × 3 + 8 = 224"]),
            ("1-review", ["16 × 3 × 3 × 3 + 16 = 448", "16 × 5 × 5 × 8 + 16 = 3,216"]),
            ("1-review", ["+ (512 × 4 + 4) = 2,103,156", "2,099,716 in the two dense layers"]),
            ("4-receptive-fields", ["[3 5 7]", "[ 3  7 15]", "layer 'orange' sees 7 x 7 pixels"]),
            ("4-receptive-fields", ["VGG16                             212  32"]),
            ("6-transfer", ["134,268,738 for two classes (the slide: 134,268,737)"]),
            ("7-history", ["256 × 5 × 5 × 3 + 256 = 19,456", "(256 × 1 × 1 × 3 + 256) = 1,102"]),
            ("7-history", ["× 8 × 8 = 1,228,800", "= 53,952", "2,764,800 and 59,952"]),
            ("7-history", ["11.174 M", "21.282 M", "23.521 M", "42.513 M", "58.157 M"]),
        ],
    )
    def test_says_the_lectures_numbers(self, page, lines):
        """The numbers of the slides, and of the corrections, are what the pages print."""
        text = (LECTURE / f"{page}.md").read_text()
        printed = "".join(re.findall(r"^```text\n(.*?)^```", text, re.M | re.S))
        for line in lines:
            assert line in printed
