"""A run recorded by the last release is what this code writes: history, arrays, log rows, words, pages, to the bit.

Where this is meant to change, ``make record`` writes it anew, and the difference shows in the commit.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recorder
from safetensors.numpy import load_file

#: How near numbers come on machines whose arithmetic differs in the last bits.
ROUGHLY = 1e-6
#: Keys of what follows from every bit of a content: its hash, the file named after that, its size, words with numbers.
OF_CONTENT = ("content", "hash", "words", "printed", "path", "size")


@pytest.fixture(scope="module")
def kept() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    return json.loads(recorder.WORDS.read_text()), load_file(recorder.ARRAYS)


@pytest.fixture(scope="module", autouse=True)
def no_nulls_of_others(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def assert_as_kept(found: Any, kept: Any, exact: bool, where: str = "") -> None:
    """Equal in every word; numbers too, or roughly. What pictures and hashes hold is only compared to the bit."""
    found = json.loads(json.dumps(found)) if not where else found
    assert type(found) is type(kept), where
    if isinstance(kept, dict):
        assert list(found) == list(kept), where
        for key, value in kept.items():
            if exact or key.rpartition(".")[2] not in OF_CONTENT:
                assert_as_kept(found[key], value, exact, f"{where}/{key}")
    elif isinstance(kept, list):
        assert len(found) == len(kept), where
        for index, value in enumerate(kept):
            assert_as_kept(found[index], value, exact, f"{where}[{index}]")
    elif isinstance(kept, float) and not exact:
        assert math.isclose(found, kept, rel_tol=ROUGHLY, abs_tol=ROUGHLY), f"{where}: {found} and {kept}"
    else:
        assert found == kept, where


def assert_arrays_as_kept(found: dict[str, np.ndarray], kept: dict[str, np.ndarray], exact: bool) -> None:
    assert sorted(found) == sorted(kept)
    for name, values in kept.items():
        if exact:
            np.testing.assert_array_equal(found[name], values, err_msg=name, strict=True)
        elif np.issubdtype(values.dtype, np.floating):
            np.testing.assert_allclose(found[name], values, rtol=ROUGHLY, atol=ROUGHLY, err_msg=name)
        else:
            assert found[name].shape == values.shape, name  # of two couplings as good, the last bit chooses


def exactly(kept: tuple[dict[str, Any], Any]) -> bool:
    return bool(kept[0]["fingerprint"] == recorder.fingerprint())


def starting_with(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}


TRAININGS = [
    pytest.param("algebra", "inline"),
    pytest.param("algebra", "background", marks=pytest.mark.slow),
    pytest.param("vision", "inline", marks=pytest.mark.slow),
    pytest.param("vision", "background", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("task", "solve"), TRAININGS)
def test_a_training_writes_what_the_last_release_wrote(kept: Any, tmp_path: Path, task: str, solve: str) -> None:
    words, arrays = kept
    folder = tmp_path / task / solve
    _, printed = recorder.train(folder, task, solve)
    lines, own = recorder.history_of(folder)
    found = {"history": lines, "printed": printed, **recorder.rows_of(folder)}
    assert_as_kept(recorder.clean(found, tmp_path), words[f"{task}/{solve}"], exactly(kept))
    assert_arrays_as_kept(own, starting_with(f"{task}/{solve}/", arrays), exactly(kept))
    if solve == "inline":
        page = recorder.clean(recorder.page_of(folder), tmp_path)
        assert_as_kept(page, words[f"{task}/page"], exactly(kept))


@pytest.mark.slow
@pytest.mark.parametrize(("task", "solve"), [("algebra", "inline"), ("vision", "background")])
def test_a_checkpoint_of_the_last_release_is_resumed_from(kept: Any, tmp_path: Path, task: str, solve: str) -> None:
    words, arrays = kept
    checkpoint = tmp_path / "kept.ckpt"
    shutil.copy(recorder.HERE / f"{task}-{solve}.ckpt", checkpoint)
    recorder.train(tmp_path, task, solve, checkpoint, log=False)
    lines, own = recorder.history_of(tmp_path)
    # The folder of the run is gone: what was on disk then is not to be had; every later look is.
    steps = sorted({line["step"] for line in recorder.clean(lines, tmp_path) if "layers" in line})
    assert steps[-2:] == [6, 8]
    wanted = {step: starting_with(f"{task}/{solve}/step-{step:08d}", arrays) for step in steps}
    for step, theirs in wanted.items():
        assert_arrays_as_kept(starting_with(f"step-{step:08d}", own), theirs, exactly(kept))
    written = [line for line in words[f"{task}/{solve}"]["history"] if line["step"] == 8 and "layers" in line]
    mine = [line for line in recorder.clean(lines, tmp_path) if line["step"] == 8 and "layers" in line]
    assert_as_kept([line["groups"] for line in mine], [line["groups"] for line in written], exactly(kept))


@pytest.mark.slow
@pytest.mark.parametrize("task", ["algebra", "vision"])
def test_a_checkpoint_made_before_there_were_references_is_resumed_from(tmp_path: Path, task: str) -> None:
    checkpoint = tmp_path / "kept.ckpt"
    shutil.copy(recorder.HERE / "older" / f"{task}.ckpt", checkpoint)
    recorder.train(tmp_path, task, "inline", checkpoint, log=False)
    lines = [line for line in recorder.history_of(tmp_path)[0] if "layers" in line]
    assert [line["step"] for line in lines][-2:] == [6, 8]
    # Its first look is held against as long as looks are made as it was made; else the first that is made otherwise.
    for line in lines:
        begun = any("no longer against step 0" in note for note in line["notes"])
        assert begun or line["reference"].startswith(("its own first look (step 0)", "none: by step"))


@pytest.mark.slow
def test_a_comparison_writes_what_the_last_release_wrote(kept: Any, tmp_path: Path) -> None:
    words, arrays = kept
    (tmp_path / "toys").mkdir()
    found, own = recorder.comparison_of(tmp_path / "toys")
    assert_as_kept(recorder.clean(found, tmp_path), words["comparison"], exactly(kept))
    assert_arrays_as_kept(own, starting_with("comparison/", arrays), exactly(kept))


@pytest.mark.parametrize("spoil", ["a word", "a number", "a row", "an array"])
def test_a_difference_is_seen(kept: Any, spoil: str) -> None:
    words, arrays = kept[0]["algebra/inline"], dict(kept[1])
    changed: dict[str, Callable[[Any], Any]] = {
        "a word": lambda w: {**w, "wandb axes": {}},
        "a number": lambda w: {**w, "csv": [{**w["csv"][0], "gw/groups/count": 17.0}, *w["csv"][1:]]},
        "a row": lambda w: {**w, "history": w["history"][1:]},
    }
    if spoil == "an array":
        name = "algebra/inline/step-00000000/distortion"
        arrays[name] = arrays[name] + 1e-3
        with pytest.raises(AssertionError):
            assert_arrays_as_kept(arrays, kept[1], exact=False)
    else:
        with pytest.raises(AssertionError):
            assert_as_kept(changed[spoil](words), words, exact=False)
