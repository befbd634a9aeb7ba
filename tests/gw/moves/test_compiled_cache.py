"""What was compiled is kept where nobody else can write, and what cannot be read of it is compiled anew."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

numba = pytest.importorskip("numba")

from numba.core.caching import NullCache  # noqa: E402

from lightning_gw.gw.moves.compiled.cache import cache_folder, compiled  # noqa: E402


def doubled(x: int) -> int:
    return x + x


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "numba"))
    return tmp_path / "numba"


def kept(folder: Path, kind: str) -> list[Path]:
    return list(folder.rglob(f"*.{kind}"))


def fresh() -> Any:
    return compiled(nogil=True)(doubled)


@pytest.mark.representatives("garbage*")
@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", [b"", b"garbage that is no pickle", b"\x80\x05."])
def test_damaged_files_are_compiled_anew(folder: Path, kind: str, damage: bytes) -> None:
    assert fresh()(2) == 4
    (file,) = kept(folder, kind)
    file.write_bytes(damage)
    again = fresh()
    assert again(3) == 6
    assert not again.stats.cache_hits
    once_more = fresh()  # and kept anew
    assert once_more(4) == 8
    assert once_more.stats.cache_hits


def test_a_folder_that_others_can_write_to_is_not_read(folder: Path) -> None:
    assert fresh()(2) == 4
    assert len(kept(folder, "nbi")) == 1
    folder.chmod(0o777)
    assert cache_folder() is None
    assert isinstance(fresh()._cache, NullCache)
    assert fresh()(3) == 6


def test_a_folder_that_cannot_be_made_costs_the_cache_only(folder: Path) -> None:
    folder.write_text("a file")
    assert cache_folder() is None
    assert fresh()(3) == 6


def test_a_full_disk_costs_the_cache_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    function = fresh()
    monkeypatch.setattr(os, "replace", full)
    assert function(3) == 6


def test_unless_told_otherwise_it_lies_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "lightning-gw" / "numba"
    assert (tmp_path / "lightning-gw" / "numba").stat().st_mode & 0o777 == 0o700
    assert fresh()(3) == 6
    assert numba.config.CACHE_DIR == ""  # what the user compiles is kept where it was
