"""Files written aside and exclusively, and read only where they are regular and no larger than said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lightning_gw.utilities.storage import files
from lightning_gw.utilities.storage.files import (
    UnfitFileError,
    append_line,
    inside,
    read_regular,
    remove_parts,
    write_whole,
)


def test_a_link_in_the_place_of_the_part_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.secrets, "token_hex", lambda count: "known")
    victim, page = tmp_path / "victim", tmp_path / "report.html"
    victim.write_text("precious")
    (tmp_path / ".report.html.known.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_whole(page, b"page")
    assert victim.read_text() == "precious"


def test_a_link_in_the_place_of_the_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim, page = tmp_path / "victim", tmp_path / "report.html"
    victim.write_text("precious")
    page.symlink_to(victim)
    write_whole(page, b"page")
    assert victim.read_text() == "precious"
    assert page.read_bytes() == b"page"
    assert not page.is_symlink()


def test_nothing_is_left_of_a_write_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "file", b"content")
    assert list(tmp_path.iterdir()) == []


def test_lines_are_appended_to_no_link_and_no_pipe(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "link").symlink_to(victim)
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(OSError, match=r"symbolic links|No such device|no regular file"):
            append_line(tmp_path / name, {"step": 1})
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("kind", ["pipe", "device", "link to a device", "folder"])
def test_only_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "file"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind == "link to a device":
        file.symlink_to("/dev/zero")
    else:
        file = Path("/dev/zero")
    with pytest.raises(OSError, match=r"no regular file|Is a directory"):
        read_regular(file)


def test_no_more_is_read_than_said(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with file.open("wb") as stream:
        stream.truncate(2**40)  # a hole, which takes no room on the disk
    with pytest.raises(UnfitFileError, match=r"more than the 256 MiB that are read"):
        read_regular(file)
    file.write_bytes(b"x" * 10)
    assert read_regular(file, 10) == b"x" * 10
    with pytest.raises(UnfitFileError):
        read_regular(file, 9)


@pytest.mark.parametrize("path", ["../outside", "/etc", "a/../../outside", "link"])
def test_paths_stay_inside_their_folder(tmp_path: Path, path: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="leads out of"):
        inside(folder, path)
    assert inside(folder, "a/b") == folder / "a/b"


def test_parts_that_a_killed_writer_left_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".history.jsonl.0123.tmp").write_text("half")
    (tmp_path / "history.jsonl").write_text("whole")
    remove_parts(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["history.jsonl"]
