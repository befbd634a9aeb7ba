"""The checks of `make docs` find what they are there to find, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS))

from check_public_docstrings import missing_docstrings  # noqa: E402
from citations import citations, linked  # noqa: E402
from draw_look import draw, missing_files  # noqa: E402
from site_checks import fetched_from_elsewhere, missing_names, missing_paths, unknown_citations, wrong_rooms  # noqa: E402

MODULE = '''"""A package."""
from dataclasses import dataclass

__all__ = ["COMMENTED", "BARE", "Said", "Silent", "said", "silent"]

#: What it is.
COMMENTED = 1
BARE = 2

def said():
    """Does something."""

def silent():
    pass

@dataclass
class Said:
    """Has fields.

    Attributes:
        told: Of one.
    """

    told: int
    untold: int

    def method(self): ...

    def _private(self): ...

@dataclass
class Silent:
    x: int
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package that counts as one of ours, with one of everything that can lack a docstring."""
    name = "lightning_gw_for_this_test"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name


def test_every_kind_of_missing_docstring_is_named(package: str) -> None:
    assert missing_docstrings([package]) == [
        f"The constant {package}.BARE has no #: comment above it.",
        f"The method {package}.Said.method has no docstring.",
        f"The field {package}.Said.untold is not among the attributes in its class's docstring.",
        f"The class {package}.Silent has no docstring.",
        f"The field {package}.Silent.x is not among the attributes in its class's docstring.",
        f"The function {package}.silent has no docstring.",
    ]


def test_a_single_name_can_be_asked_for(package: str) -> None:
    assert missing_docstrings([f"{package}.said", f"{package}.silent"]) == [
        f"The function {package}.silent has no docstring."
    ]
    with pytest.raises(AttributeError, match="misspelt"):
        missing_docstrings([f"{package}.misspelt"])


def test_rooms_that_are_forgotten_or_gone_are_named(tmp_path: Path) -> None:
    for room in ("", "above", "above/inner", "forgotten"):
        (tmp_path / "house" / room).mkdir()
        (tmp_path / "house" / room / "__init__.py").touch()
    page = tmp_path / "architecture.md"
    page.write_text('```text title="The rooms"\nhouse/  all\n  above/  one\n    inner/  two\n    gone/  three\n```\n')
    assert list(wrong_rooms(page, tmp_path / "house")) == [
        "architecture.md does not name the room house/forgotten/.",
        "architecture.md names house/above/gone/, which does not exist.",
    ]
    page.write_text("nothing")
    with pytest.raises(ValueError, match="no block"):
        list(wrong_rooms(page, tmp_path / "house"))


def test_files_that_do_not_exist_are_named(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    page = tmp_path / "page.md"
    page.write_text("`tests/`, `tests/test_gone.py`, `gw/history.jsonl` of a run, `lightning_gw.gw`, `GONE.md`")
    assert list(missing_paths([page], tmp_path)) == [
        "page.md names tests/test_gone.py, which does not exist.",
        "page.md names GONE.md, which does not exist.",
    ]


def test_names_that_do_not_exist_are_named(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "`lightning_gw.gw.matrix.gw_matrix(x)`, `lightning_gw.gone`\n\n    from lightning_gw.gw import gw_coupling\n"
        "    from lightning_gw.gw.solve import gw_matrix\n"
    )
    assert list(missing_names([page])) == [
        "page.md names lightning_gw.gone, which does not exist.",
        "page.md names lightning_gw.gw.solve, which does not exist.",
    ]


def test_citations_are_found_in_all_their_forms() -> None:
    text = """By Mémoli 2011, Song et
    al. (2012, equation 5) and Peyré, Cuturi and Solomon 2016;
    the Mantel test (1967). At NeurIPS 2018, with 2000 samples."""
    assert list(citations(text)) == ["memoli-2011", "song-2012", "peyre-2016", "mantel-1967"]


def test_a_citation_that_is_not_in_the_bibliography_is_named(tmp_path: Path) -> None:
    bibliography, page = tmp_path / "bibliography.md", tmp_path / "page.md"
    bibliography.write_text('- <span id="memoli-2011"></span>**Mémoli 2011.**')
    page.write_text("Mémoli 2011, and Nobody and Else 1999.")
    assert list(unknown_citations([page], bibliography)) == [
        f"{page} cites 'Nobody and Else 1999', which bibliography.md does not have."
    ]


def test_every_paper_that_a_docstring_names_is_in_the_bibliography() -> None:
    files = sorted((DOCS.parent / "lightning_gw").rglob("*.py"))
    assert any(citations(file.read_text("utf-8")) for file in files)
    assert list(unknown_citations(files, DOCS / "bibliography.md")) == []


def test_only_prose_is_linked_and_only_to_what_is_known() -> None:
    html = "<p>Song et al. (2012)</p><code>Song et al. 2012</code><a href='x'>Song 2012</a> Nobody 1999"
    assert linked(html, "../b.html", {"song-2012"}) == (
        '<p><a class="citation" href="../b.html#song-2012">Song et al. (2012</a>)</p>'
        "<code>Song et al. 2012</code><a href='x'>Song 2012</a> Nobody 1999"
    )


def test_the_diagram_names_files_that_exist_and_is_the_one_that_is_kept() -> None:
    assert missing_files() == []
    assert (DOCS / "pictures" / "look.svg").read_text(encoding="utf-8") == draw()


def test_what_a_page_fetches_from_other_servers_is_named() -> None:
    html = """<script async src="https://cdn.invalid/a.js"></script><link rel=stylesheet href=//fonts.invalid/b.css>
    <a href="https://other.invalid/">a link</a><img src="pictures/look.svg"><script>'https://in.a.text'</script>"""
    assert fetched_from_elsewhere(html) == ["https://cdn.invalid/a.js", "//fonts.invalid/b.css"]


def test_the_pages_name_the_rooms_and_files_that_there_are() -> None:
    """What `make docs` would refuse, seen before anybody makes them."""
    root = DOCS.parent
    assert list(wrong_rooms(DOCS / "architecture.md", root / "lightning_gw")) == []
    assert list(missing_paths([*sorted(DOCS.rglob("*.md")), root / "README.md", root / "CONTRIBUTING.md"], root)) == []
