"""asprm: a process reward model whose steps end where the policy hesitates (AdaptiveStep, arXiv 2502.13943).

The top level holds one module per stage, in the order of the study: policy, sample, threshold, split, rollout, prm,
best_of_n, tvd, generalize, tokens, truth, claims, rivals. Each has one entry point, `run_<stage>(run)`. What stages
share is in folders. Importing the package loads nothing heavy.
"""

import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent  # the folder of the project
STARTED = time.time()  # before any other module was read
__version__ = "0.1.0"
