"""Which engine a name means, and what is said where vLLM is missing or does not fit. Needs no vLLM."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from asprm.engines import vllm
from asprm.engines.load import engine_kind, load_engine


def test_a_name_means_itself_and_auto_means_vllm_where_it_is_installed_and_a_gpu_is_there(monkeypatch):
    monkeypatch.setattr(vllm, "installed", lambda: True)
    assert engine_kind("local", "cuda") == "local"
    assert engine_kind("vllm", "cpu") == "vllm"
    assert engine_kind("auto", "cuda:1") == "vllm"
    assert engine_kind("auto", "cpu") == "local"
    assert engine_kind("auto", "cuda", guided=True) == "local"
    assert engine_kind("vllm", "cuda", guided=True) == "vllm"
    monkeypatch.setattr(vllm, "installed", lambda: False)
    assert engine_kind("auto", "cuda") == "local"
    with pytest.raises(ValueError, match="kind is 'remote', expected 'auto', 'local' or 'vllm'"):
        engine_kind("remote")


def test_auto_imports_neither_vllm_nor_torch_where_no_vllm_is():
    program = """
import sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *more: None if name == "vllm" else find(name, *more)
from asprm.engines.load import engine_kind
assert engine_kind("auto") == "local"
print(*sorted({"torch", "vllm", "transformers"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def one_line(error: Exception) -> str:
    assert "\n" not in str(error)
    return str(error)


def test_where_vllm_is_missing_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(vllm, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"vllm is not installed; install it \(pip install 'asprm\[vllm\]'\)") as error:
        load_engine("nowhere", kind="vllm")
    assert "'local'" in one_line(error.value)


@pytest.mark.parametrize(
    ("package", "said"),
    [
        (SimpleNamespace(__version__="0.11.2"), r"vllm 0\.11\.2 is installed, expected 0\.32"),
        (SimpleNamespace(__version__="0.320.0"), r"vllm 0\.320\.0 is installed, expected 0\.32"),
        (
            ImportError("libcudart.so.13: cannot open\nmore"),
            r"vllm cannot be imported \(libcudart\.so\.13: cannot open\)",
        ),
    ],
)
def test_an_unfit_vllm_is_named_in_one_line(monkeypatch, package, said):
    def import_module(name):
        if isinstance(package, Exception):
            raise package
        return package

    for name in vllm._SETTINGS:
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(vllm, "find_spec", lambda name: object())
    monkeypatch.setattr(vllm.importlib, "import_module", import_module)
    with pytest.raises(ValueError, match=said) as error:
        load_engine("nowhere", kind="vllm")
    assert "pip install" in one_line(error.value)
