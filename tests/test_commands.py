"""A command line that is printed is one that the command line takes."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import pytest
import typer

from onnxzip.cli.main import app
from onnxzip.commands import NO_OPTION, optimize_command
from onnxzip.config import Budget, Config


def options() -> set[str]:
    command = typer.main.get_command(app).commands["optimize"]
    return {o for p in command.params for o in p.opts}


@pytest.mark.parametrize("field", [*dataclasses.fields(Config), *dataclasses.fields(Budget)], ids=lambda f: f.name)
def test_every_setting_has_an_option_or_is_named_as_one_that_has_none(field):
    if field.name in (*NO_OPTION, "budget"):
        return
    option = {"min_sqnr_db": "--min-sqnr"}.get(field.name, f"--{field.name.replace('_', '-')}")
    assert option in options()


def test_defaults_are_not_written():
    assert optimize_command("m.onnx", None, None, Config(), "o.onnx") == "onnxzip optimize m.onnx -o o.onnx"


def test_a_shell_reads_it_as_it_was_meant():
    config = Config(
        preset="int8",
        prune=0.25,
        allow_contrib=True,
        keep_float=("a b", "-x", "$HOME/.*"),
        plan=Path("my plan.json"),
        budget=Budget(min_agreement=None, min_sqnr_db=-3.0, max_abs_error=1e-7),
    )
    words = shlex.split(optimize_command("my model.onnx", "it's data/", "eval:uate", config, "out;.onnx") or "")
    assert words[:6] == ["onnxzip", "optimize", "my model.onnx", "-c", "it's data/", "-e"]
    assert words[-2:] == ["-o", "out;.onnx"]
    text = " ".join(words)
    for part in (
        "--keep-float a b --keep-float=-x --keep-float $HOME/.*",
        "--min-agreement 0 ",
        "--min-sqnr=-3 ",
        "--max-abs-error 1e-07",
        "--prune 0.25",
        "--allow-contrib",
        "--plan my plan.json",
    ):
        assert part in text
    command = typer.main.get_command(app).commands["optimize"]
    taken = command.make_context("optimize", words[2:]).params
    assert taken["keep_float"] == ["a b", "-x", "$HOME/.*"]
    assert (taken["min_sqnr"], taken["max_abs_error"], taken["min_agreement"]) == (-3.0, 1e-7, 0.0)


@pytest.mark.parametrize("settings", [{"held_out": 0.5}, {"seed": 3}, {"measure_speed": False}])
def test_what_has_no_option_has_no_command(settings):
    assert optimize_command("m.onnx", "d", None, Config(**settings), "o.onnx") is None


def test_numbers_keep_their_digits():
    config = Config(budget=Budget(min_agreement=0.123456789, max_size=1 / 3))
    words = shlex.split(optimize_command("m", None, None, config, "o") or "")
    assert float(words[words.index("--min-agreement") + 1]) == 0.123456789
    assert float(words[words.index("--max-size") + 1]) == 1 / 3
