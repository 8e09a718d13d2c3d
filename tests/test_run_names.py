"""Names survive being read and written."""

import pytest

from asprm.run.names import LabelTable, Method, Training


@pytest.mark.parametrize("name", "adaptive adaptive-0.01 adaptive-0.00001 adaptive-0.99999999 line-entropy".split())
def test_a_method_survives(name):
    assert str(Method.parse(name)) == name
    assert str(LabelTable.parse(f"M/{name}")) == f"M/{name}"


def test_equal_methods_have_one_name():
    assert str(Method.parse("adaptive-0.0100-soft")) == "adaptive-0.01-soft"


@pytest.mark.parametrize("name", ["lines", "adaptive-0.0", "adaptive-1", "line-0.1", "adaptive-0.\u0663"])
def test_what_is_no_method_is_refused(name):
    with pytest.raises(ValueError, match="unknown split method"):
        Method.parse(name)


@pytest.mark.parametrize("name", ["ASPRM-M", "ASPRM-M@1", "M+C@12"])
def test_a_training_survives(name):
    assert str(Training.parse(name)) == name


@pytest.mark.parametrize("name", ["X@", "X@0", "X@01", "X@a"])
def test_what_is_no_training_is_refused(name):
    with pytest.raises(ValueError, match="expected a reward model"):
        Training.parse(name)
