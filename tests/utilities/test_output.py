"""Output that fails, and text that would act on a terminal."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from typing import Any

import pytest

from lightning_gw.utilities import output


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("step \x1b[2J7", r"step \x1b[2J7"),
        ("title \x1b]0;owned\x07", r"title \x1b]0;owned\x07"),
        ("over\rwritten \x08", r"over\rwritten \x08"),
        ("\x9b31m", r"\x9b31m"),
        ("turned \u202eround", r"turned \u202eround"),
        ("1–2 | 3–6 × 4 − 5 “so”\tand\non", "1–2 | 3–6 × 4 − 5 “so”\tand\non"),
    ],
)
def test_what_would_act_on_a_terminal_is_shown(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    output.say(text)
    assert capsys.readouterr().out == shown + "\n"
    with pytest.warns(UserWarning, match=re.escape(shown)):
        output.warn(text)


def test_warnings_that_are_errors_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        output.warn("something is missing")
    assert "something is missing" in capsys.readouterr().err


def test_what_shows_it_may_fail(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(text: str) -> None:
        raise RecursionError("endless")

    output.say("a line", broken)
    assert capsys.readouterr().out == "a line\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("stdout", ["full", "closed", "broken pipe"])
def test_a_process_goes_on_whatever_its_output_is(stdout: str) -> None:
    code = "import sys; from lightning_gw.utilities.output import say; say('x' * 99999); print('on', file=sys.stderr)"
    options: dict[str, Any] = {"stderr": subprocess.PIPE, "text": True}
    if stdout == "full":
        with open("/dev/full", "w") as full:
            done = subprocess.run([sys.executable, "-c", code], stdout=full, **options)
    elif stdout == "closed":
        done = subprocess.run(["sh", "-c", f'exec "{sys.executable}" -c "{code}" >&-'], **options)
    else:
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([sys.executable, "-c", code], stdout=writer, **options)
        os.close(writer)
    assert done.stderr.splitlines()[0] == "on"
    assert done.returncode == 0, done.stderr


def test_values_are_quoted_on_one_line() -> None:
    assert output.quoted("a\nb") == r"'a\nb'"
    assert len(output.quoted("x" * 500)) < 100
    assert output.quoted(10**5000) == "a int"
