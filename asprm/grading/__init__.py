"""Is an answer right? `grade_math` compares values, `grade_code` runs programs in a sandbox."""

from asprm.grading.math import MathVerdict, extract_answer, grade_math

__all__ = ["CodeVerdict", "MathVerdict", "extract_answer", "extract_code", "grade_code", "grade_math", "grade_programs"]


def __getattr__(name: str) -> object:
    """What runs programs is imported when it is asked for."""
    if name in __all__:
        from asprm.grading import code

        return getattr(code, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
