"""Is a reward model that chooses worse than a random candidate broken by its budget? Models of tiny, trained longer.

Takes the finished run `tiny` and trains each model anew with more passes over the same labels, as an experiment that
leaves the run as it is. `results/undertrained.json` holds the table that the page Statistics shows. Some 10 minutes.
"""

import json
import sys
from pathlib import Path

from asprm import generalize
from asprm.best_of_n import run_best_of_n
from asprm.prm import run_prm
from asprm.problems.load import title
from asprm.problems.sets import test_sets
from asprm.run import names
from asprm.run.open import open_run

RESULTS = Path(__file__).resolve().parent / "results/undertrained.json"
MODELS = {"MS-M": "M", "ER-PRM-L": "L", "ORM-D": "D"}  # those that choose worse than chance, each with its policy
EPOCHS = (1, 3, 9)


def trained(prm: str, policy: str, epochs: int) -> dict:
    """What a reward model chooses after so many passes, on its policy's first test set."""
    changed = {"policy": policy, "prm": prm, "scratch": f"undertrained-{epochs}"}
    run = open_run("tiny", stage="prm", parameters=changed | {"epochs": epochs}, quiet=True)
    run_prm(run)
    auc = run.read(names.training_log(prm)).to_pandas()["validation_auc"].max()
    run = open_run("tiny", stage="best_of_n", parameters=changed, quiet=True)
    run_best_of_n(run)
    name = next(iter(test_sets(run.profile, run.domain)))
    row = generalize.of_chosen(run, prm, policy, name, generalize.solutions_like(run, policy, name))
    row |= {"validation AUC": auc}
    return {"prm": prm, "epochs": epochs, "set": title(name)} | {key: round(float(x), 4) for key, x in row.items()}


def main() -> list[dict]:
    rows = []
    for prm, policy in MODELS.items():
        for epochs in EPOCHS:
            rows.append(trained(prm, policy, epochs))
            print(rows[-1], flush=True)
    command = f"python benchmarks/{Path(sys.argv[0]).name}"
    RESULTS.write_text(json.dumps({"command": command, "rows": rows}, indent=1, ensure_ascii=False) + "\n")
    return rows


if __name__ == "__main__":
    main()
