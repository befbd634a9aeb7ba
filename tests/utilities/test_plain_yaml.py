"""What is written as YAML is read back as it was, by Lightning's reader too."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from jsonargparse import ArgumentParser

from lightning_gw.utilities.storage.plain_yaml import yaml_text

#: W&B run ids are hexadecimal, and some of them look like numbers.
TRICKY = ["55e10000", "123456e78901", "1e5", "-1E+3", "1.5e3", "1_0e2", "0123", "12345", "on", "null", "1:30", "", "ab"]


@pytest.mark.parametrize("value", TRICKY)
def test_strings_stay_strings(value: str) -> None:
    assert yaml.safe_load(yaml_text({"id": value})) == {"id": value}
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--logger", type=Any)
    assert parser.parse_string(yaml_text({"logger": {"id": value}})).logger == {"id": value}


def test_numbers_stay_numbers_and_keys_in_their_order() -> None:
    content = {"z": 1e-5, "a": 3, "m": [1.5e300, None, True]}
    assert yaml.safe_load(yaml_text(content)) == content
    assert list(yaml.safe_load(yaml_text(content))) == ["z", "a", "m"]
