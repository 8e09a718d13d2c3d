"""Is an answer right? `grade_math` compares values, `grade_code` runs programs in a sandbox."""

from asprm.grading.math import MathVerdict, extract_answer, grade_math

__all__ = ["MathVerdict", "extract_answer", "grade_math"]
