# The study: each stage is a notebook that reads earlier stages' tables and writes its own, run once per profile.
#   snakemake --cores 2                          the default profile, `tiny`
#   snakemake --cores 2 --config profile=smoke   another one, or the path of a .yml file
# A stage runs again when its notebook, a module it imports, a number it reads from the profile or a table it reads has
# changed. Data stand below $ASPRM_HOME, by default below this folder.
import json
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

SOURCE = Path(workflow.basedir)
sys.path.insert(0, str(SOURCE))
from asprm import workflow as study
from asprm.profile import ProfileError, load_profile

GIVEN = str(config.get("profile", "tiny"))
NAME = str(Path(GIVEN).resolve()) if Path(GIVEN).is_file() else GIVEN
HOME = Path(os.environ.setdefault("ASPRM_HOME", str(SOURCE)))
try:
    PROFILE = load_profile(NAME)
except ProfileError as error:
    raise WorkflowError(str(error)) from None

workdir: HOME

# What Snakemake says between two jobs tells nothing that the notebooks' own lines do not.
CHATTER = ("Select jobs", "Execute ", "Using shell", "Building DAG", "Touching output", "Complete log")
logger.addFilter(lambda record: not str(record.msg).startswith(CHATTER))

RUN = f"data/runs/{PROFILE.name}"
POLICY = next(iter(PROFILE.policies))
PRM = f"ASPRM-{POLICY}"
METHOD = PROFILE.split.method
TESTS = list(PROFILE.problems.test)
CHAPTERS = [
    "01_policy", "02_sample", "03_threshold", "04_split", "05_rollout", "06_prm", "07_best_of_n", "08_tvd", "10_tokens"
]
EXECUTE = "{sys.executable} -m asprm.notebook {input.nb} {output.nb} -p profile {NAME}"


def source(*paths):
    """Paths of this folder, relative to HOME, so that a moved clone does not count as changed."""
    return [os.path.relpath(SOURCE / path, HOME) for path in paths]


def modules(file):
    return source(*study.modules(SOURCE / file, SOURCE))


def reads(stage):
    return json.dumps(PROFILE.reads(stage), sort_keys=True)


def executed(chapter):
    return f"{RUN}/notebooks/{chapter}.ipynb"


def tables(*names):
    """Artifacts of this run; a model folder goes by its manifest."""
    return [f"{RUN}/{name}" for name in names]


def weights(_):
    """The policy's files: those that come with the study, those made here, or none if it lives on the hub."""
    if PROFILE.policy.retrain:
        return tables(f"policy/{POLICY}.manifest.json")
    folder = SOURCE / PROFILE.policies[POLICY].path
    return source(*sorted(file for file in folder.glob("*") if file.suffix in {".json", ".safetensors", ".jinja"}))


SAMPLES = ["train", "validation", "validation-greedy", *TESTS, *(f"{name}-greedy" for name in TESTS)]


# Every notebook is asked for by name: Snakemake leaves a missing file alone where all that was made from it is there.
rule all:
    input: [executed(chapter) for chapter in CHAPTERS], f"{RUN}/.site", f"{RUN}/site/index.html"
    default_target: True


rule policy:
    input: nb=source("notebooks/01_policy.ipynb"), code=modules("notebooks/01_policy.ipynb"),
           weights=[] if PROFILE.policy.retrain else weights
    output: nb=executed("01_policy"), model=tables(f"policy/{POLICY}.manifest.json") if PROFILE.policy.retrain else []
    params: reads("policy")
    threads: workflow.cores
    shell: EXECUTE


rule sample:
    input: nb=source("notebooks/02_sample.ipynb"), code=modules("notebooks/02_sample.ipynb"), weights=weights
    output: nb=executed("02_sample"), tables=tables(*(f"sample/{POLICY}/{name}.parquet" for name in SAMPLES))
    params: reads("sample")
    threads: workflow.cores
    shell: EXECUTE


rule threshold:
    input: nb=source("notebooks/03_threshold.ipynb"), code=modules("notebooks/03_threshold.ipynb"),
           tables=tables(f"sample/{POLICY}/train.parquet")
    output: nb=executed("03_threshold"), table=tables(f"threshold/{POLICY}.json")
    params: reads("threshold")
    shell: EXECUTE


rule split:
    input: nb=source("notebooks/04_split.ipynb"), code=modules("notebooks/04_split.ipynb"), weights=weights,
           tables=tables(f"sample/{POLICY}/train.parquet", f"threshold/{POLICY}.json")
    output: nb=executed("04_split"), table=tables(f"split/{POLICY}/{METHOD}.parquet")
    params: reads("split")
    shell: EXECUTE


rule rollout:
    input: nb=source("notebooks/05_rollout.ipynb"), code=modules("notebooks/05_rollout.ipynb"), weights=weights,
           tables=tables(f"sample/{POLICY}/train.parquet", f"split/{POLICY}/{METHOD}.parquet")
    output: nb=executed("05_rollout"), table=tables(f"rollout/{POLICY}/{METHOD}.parquet")
    params: reads("rollout")
    threads: workflow.cores
    shell: EXECUTE


rule prm:
    input: nb=source("notebooks/06_prm.ipynb"), code=modules("notebooks/06_prm.ipynb"), weights=weights,
           tables=tables(f"sample/{POLICY}/train.parquet", f"rollout/{POLICY}/{METHOD}.parquet")
    output: nb=executed("06_prm"), model=tables(f"prm/{PRM}.manifest.json", f"prm/{PRM}-log.parquet")
    params: reads("prm")
    threads: workflow.cores
    shell: EXECUTE


rule best_of_n:
    input: nb=source("notebooks/07_best_of_n.ipynb"), code=modules("notebooks/07_best_of_n.ipynb"),
           tables=tables(f"prm/{PRM}.manifest.json", f"threshold/{POLICY}.json",
                         *(f"sample/{POLICY}/{name}{kind}.parquet" for name in TESTS for kind in ("", "-greedy")))
    output: nb=executed("07_best_of_n"),
            tables=tables(*(f"best_of_n/{PRM}/{POLICY}-{name}.parquet" for name in TESTS))
    params: reads("best_of_n")
    threads: workflow.cores
    shell: EXECUTE


rule tvd:
    input: nb=source("notebooks/08_tvd.ipynb"), code=modules("notebooks/08_tvd.ipynb"), weights=weights,
           tables=tables(f"prm/{PRM}.manifest.json",
                         *(f"sample/{POLICY}/{name}-greedy.parquet" for name in ("validation", *TESTS)))
    output: nb=executed("08_tvd"),
            tables=tables(*(f"tvd/{PRM}/{POLICY}-{name}.parquet" for name in ("validation", *TESTS)))
    params: reads("tvd")
    threads: workflow.cores
    shell: EXECUTE


rule tokens:
    input: nb=source("notebooks/10_tokens.ipynb"), code=modules("notebooks/10_tokens.ipynb"), weights=weights,
           tables=tables(f"sample/{POLICY}/train.parquet", f"threshold/{POLICY}.json",
                         f"split/{POLICY}/{METHOD}.parquet")
    output: nb=executed("10_tokens"), table=tables(f"tokens/{POLICY}.parquet")
    params: reads("tokens")
    shell: EXECUTE


# A site that cannot be built leaves the old one as it was: `update` keeps its first page, the mark tells them apart.
rule site:
    input: notebooks=[executed(chapter) for chapter in CHAPTERS],
           code=source("asprm/site.py") + modules("asprm/site.py"),
           pages=source("_config.yml", "_toc.yml", *(p for p in sorted((SOURCE / "book").rglob("*")) if p.is_file()),
                        *sorted((SOURCE / "data" / "paper").glob("*.yml")),
                        *sorted((SOURCE / "data" / "reference").glob("*.json")),
                        *sorted((SOURCE / "benchmarks" / "results").glob("*.json")))
    output: mark=touch(f"{RUN}/.site"), page=update(f"{RUN}/site/index.html")
    params: PROFILE.model_dump_json()
    shell: "{sys.executable} -m asprm.site --profile {NAME}"
