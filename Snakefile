# The study: each stage is a notebook that reads earlier stages' tables and writes its own, run once per profile.
#   snakemake --cores 2                          the default profile, `tiny`
#   snakemake --cores 2 --config profile=smoke   another one, or the path of a .yml file
# A stage runs again when its notebook, the code that it imports, a number that it reads from the profile or a table that
# it reads has changed. Data stand below $ASPRM_HOME, by default below this folder.
import json
import os
import shutil
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

SOURCE = Path(workflow.basedir)
sys.path.insert(0, str(SOURCE))
from asprm.best_of_n import rated_sets
from asprm.problems.sets import knows_truth, test_sets
from asprm.run import code, names
from asprm.run.names import Method, Training
from asprm.run.sections import ProfileError
from asprm.run.profile import load_profile
from asprm.workflow import forkserver

if unknown := config.keys() - {"profile"}:
    raise WorkflowError(f"--config: unknown key '{min(unknown)}'; expected profile=<name or .yml file>")
GIVEN = str(config.get("profile", "tiny"))
NAME = str(Path(GIVEN).resolve()) if Path(GIVEN).is_file() else GIVEN
HOME = Path(os.environ.setdefault("ASPRM_HOME", str(SOURCE)))
try:
    PROFILE = load_profile(NAME)
except ProfileError as error:
    raise WorkflowError(str(error)) from None

workdir: HOME


onerror:
    print("What is finished is kept; the same command goes on from there.", file=sys.stderr)

# What Snakemake says between two jobs tells nothing that the notebooks' own lines do not.
CHATTER = ("Select jobs", "Execute ", "Using shell", "Building DAG", "Touching output", "Complete log")
logger.addFilter(lambda record: not str(record.msg).startswith(CHATTER))

RUN = f"data/runs/{PROFILE.name}"
POLICIES = list(PROFILE.policies)
BY_POLICY = ["02_sample", "03_threshold", "04_split", "05_rollout", "06_prm", "07_best_of_n", "08_tvd", "10_tokens"]
ALONE = ["01_policy", "09_generalize", "12_claims"]
# Heavy notebooks of two policies go side by side: while one starts, the other computes. An accelerator is not shared.
SIDE_BY_SIDE = 1 if shutil.which("nvidia-smi") else min(2, len(POLICIES))
HEAVY = max(1, workflow.cores // SIDE_BY_SIDE)
EXECUTE = "{sys.executable} -m asprm.workflow.forkserver asprm.workflow.notebook {input.nb} {output.nb} -p profile {NAME}"
OF_POLICY = EXECUTE + " -p policy {params.policy}"


def source(*paths):
    """Paths of this folder, relative to HOME, so that a moved clone does not count as changed."""
    return [os.path.relpath(SOURCE / path, HOME) for path in paths]


def notebook(chapter):
    return source(f"notebooks/{chapter}.ipynb")


def modules(path):
    """What the modules do that a notebook or module imports, as a digest: a comment reruns nothing."""
    return code.state(SOURCE / path, SOURCE)


def reads(stage):
    return json.dumps(PROFILE.reads(stage), sort_keys=True)


def executed(chapter, policy=None):
    return f"{RUN}/notebooks/{chapter}{f'-{policy}' if policy else ''}.ipynb"


def tables(*artifacts):
    return [f"{RUN}/{name}.parquet" for name in artifacts]


def files(*artifacts):
    return [f"{RUN}/{name}.json" for name in artifacts]


def folders(*artifacts):
    """Models go by their manifests."""
    return [f"{RUN}/{name}.manifest.json" for name in artifacts]


def weights(*policies):
    """Their files: those that come with the study, those made here, or none if they live on the hub."""
    if PROFILE.policy.retrain:
        return folders(*map(names.policy_weights, policies))
    shipped = [file for policy in policies for file in (SOURCE / PROFILE.policies[policy].path).glob("*")]
    return source(*sorted(file for file in shipped if file.suffix in {".json", ".safetensors", ".jinja"}))


def tests(policy):
    return test_sets(PROFILE, PROFILE.policies[policy].domain)


def urgency(stage, policy):
    """Priority of a job: the earlier stage first, and of one stage the policy that takes longest, or for whose reward
    models most of the scoring waits.
    """
    models = trainings(*PROFILE.trained_on(policy))
    estimates = [Method.parse(method).estimate or PROFILE.rollout.estimate for method in PROFILE.methods(policy)]
    work = {
        "labels": len(estimates) + 100 * sum(one != "hard" for one in estimates),  # other labels need every rollout
        "prm": sum(one in models for other in POLICIES for one in raters(other)),
        "best_of_n": len(raters(policy)),
        "tvd": len(PROFILE.tvd.guide[policy]),
    }
    return 1000 * (len(work) - list(work).index(stage)) + work[stage]


def samples(policy, *sets):
    return tables(*(names.samples(policy, one) for one in sets))


def greedy(policy, *sets):
    return tables(*(names.greedy_samples(policy, one) for one in sets))


def threshold(policy):
    return files(names.threshold(policy))


def step_ends(policy):
    splits = dict.fromkeys(Method.parse(method).split for method in PROFILE.methods(policy))
    return tables(*(names.step_ends(policy, split) for split in splits))


def labels(policy):
    return tables(*(names.labels(policy, method) for method in PROFILE.methods(policy)))


def trainings(*reward_models):
    return [training for name in reward_models for training in PROFILE.seeds_of(name)]


def trained(*artifacts):
    """Those reward models that are trained here; published ones are no files of this run."""
    own = [name for name in artifacts if not PROFILE.reward_models[Training.parse(name).reward_model].published]
    return folders(*map(names.reward_model, own))


def token_tables(policy):
    code = PROFILE.policies[policy].domain == "code"
    return tables(names.token_types(policy), *([names.token_places(policy)] if code else []))


def data_of(policy):
    """What the reward models trained with the policy learn from: labels, and the samples of whoever wrote them."""
    learned = {table for name in PROFILE.trained_on(policy) for table in PROFILE.reward_models[name].tables}
    rows = sorted(names.labels(table.policy, table.method) for table in learned)
    writers = sorted({table.policy for table in learned})
    return tables(*rows) + [path for writer in writers for path in samples(writer, "train")]


def raters(policy):
    """The reward models that rate the policy's candidates, each training of those that start from it."""
    return [one for name in PROFILE.best_of_n.score[policy] for one in PROFILE.trainings(name, policy)]


def scored(policy):
    """Tables of Best-of-N: one table per reward model and set stands for those at other places."""
    return tables(*(names.scores(prm, policy, one) for prm in raters(policy) for one in rated_sets(PROFILE, prm, policy)))


def guided(policy):
    prms = PROFILE.tvd.guide[policy]
    sets = ("validation", *tests(policy))
    return files(*(names.trigger(prm, policy) for prm in prms)) + tables(
        *(names.guided(prm, policy, one) for prm in prms for one in sets))


PAPER = source("data/paper/claims.yml")
TRUTHS = [policy for policy in POLICIES if knows_truth(PROFILE, policy)]
CHAPTERS = [executed(chapter) for chapter in ALONE]
CHAPTERS += [executed(chapter, policy) for chapter in BY_POLICY for policy in POLICIES]
CHAPTERS += [executed("11_truth", policy) for policy in TRUTHS]


onstart:
    forkserver.start()


# Every notebook is asked for by name: Snakemake leaves a missing file alone where all that was made from it is there.
rule all:
    input: CHAPTERS, f"{RUN}/.site", f"{RUN}/site/index.html"
    default_target: True


# Priority 2: jobs that no other one waits for. Priority 1: the longest of the last jobs, so that no core idles at the end.
rule policy:
    input: nb=notebook("01_policy"), paper=PAPER, weights=[] if PROFILE.policy.retrain else weights(*POLICIES)
    output: nb=executed("01_policy"), model=weights(*POLICIES) if PROFILE.policy.retrain else []
    params: reads("policy"), modules("notebooks/01_policy.ipynb")
    threads: workflow.cores if PROFILE.policy.retrain else 1
    priority: 2
    shell: EXECUTE


for policy in POLICIES:

    rule:
        name: f"sample_{policy}"
        input: nb=notebook("02_sample"), weights=weights(policy)
        output: nb=executed("02_sample", policy), tables=samples(policy, "train", "validation", *tests(policy)),
                greedy=greedy(policy, "validation", *tests(policy))
        params: reads("sample"), modules("notebooks/02_sample.ipynb"), policy=policy
        threads: HEAVY
        priority: urgency("labels", policy)
        shell: OF_POLICY


    rule:
        name: f"threshold_{policy}"
        input: nb=notebook("03_threshold"), tables=samples(policy, "train")
        output: nb=executed("03_threshold", policy), table=threshold(policy)
        params: reads("threshold"), modules("notebooks/03_threshold.ipynb"), policy=policy
        priority: urgency("labels", policy)
        shell: OF_POLICY


    rule:
        name: f"split_{policy}"
        input: nb=notebook("04_split"), weights=weights(policy),
               tables=samples(policy, "train") + threshold(policy)
        output: nb=executed("04_split", policy), tables=step_ends(policy)
        params: reads("split"), modules("notebooks/04_split.ipynb"), policy=policy
        priority: urgency("labels", policy)
        shell: OF_POLICY


    rule:
        name: f"rollout_{policy}"
        input: nb=notebook("05_rollout"), weights=weights(policy),
               tables=samples(policy, "train") + step_ends(policy)
        output: nb=executed("05_rollout", policy), tables=labels(policy)
        params: reads("rollout"), modules("notebooks/05_rollout.ipynb"), policy=policy
        threads: HEAVY
        priority: urgency("labels", policy)
        shell: OF_POLICY


    rule:
        name: f"prm_{policy}"
        input: nb=notebook("06_prm"), tables=data_of(policy),
               weights=weights(*{policy, *(PROFILE.reward_models[name].base for name in PROFILE.trained_on(policy))})
        output: nb=executed("06_prm", policy), models=trained(*trainings(*PROFILE.trained_on(policy))),
                logs=tables(*map(names.training_log, trainings(*PROFILE.trained_on(policy))))
        params: reads("prm"), modules("notebooks/06_prm.ipynb"), policy=policy
        threads: HEAVY
        priority: urgency("prm", policy)
        shell: OF_POLICY


    rule:
        name: f"best_of_n_{policy}"
        input: nb=notebook("07_best_of_n"), weights=weights(policy),
               tables=samples(policy, "validation", *tests(policy)) + greedy(policy, "validation", *tests(policy))
                      + threshold(policy) + trained(*raters(policy))
        output: nb=executed("07_best_of_n", policy), tables=scored(policy)
        params: reads("best_of_n"), modules("notebooks/07_best_of_n.ipynb"), policy=policy
        threads: HEAVY
        priority: urgency("best_of_n", policy)
        shell: OF_POLICY


    rule:
        name: f"tvd_{policy}"
        input: nb=notebook("08_tvd"), paper=PAPER, weights=weights(policy),
               tables=greedy(policy, "validation", *tests(policy)) + trained(*PROFILE.tvd.guide[policy])
        output: nb=executed("08_tvd", policy), tables=guided(policy),
                decision=files(names.decision(PROFILE.prm_of(policy), policy))
        params: reads("tvd"), modules("notebooks/08_tvd.ipynb"), policy=policy
        threads: HEAVY
        priority: urgency("tvd", policy)
        shell: OF_POLICY


    rule:
        name: f"tokens_{policy}"
        input: nb=notebook("10_tokens"), paper=PAPER, weights=weights(policy),
               tables=samples(policy, "train") + threshold(policy)
        output: nb=executed("10_tokens", policy), tables=token_tables(policy)
        params: reads("tokens"), modules("notebooks/10_tokens.ipynb"), policy=policy
        priority: 2
        shell: OF_POLICY


    if policy in TRUTHS:

        rule:
            name: f"truth_{policy}"
            input: nb=notebook("11_truth"), weights=weights(policy),
                   tables=samples(policy, "train", "validation", *tests(policy)) + greedy(policy, *tests(policy))
                          + scored(policy) + guided(policy) + step_ends(policy) + labels(policy) + threshold(policy)
            output: nb=executed("11_truth", policy), tables=tables(*(names.truth(policy, one) for one in names.TRUTH))
            params: reads("truth"), modules("notebooks/11_truth.ipynb"), policy=policy
            shell: OF_POLICY


RESULTS = [path for policy in POLICIES for path in scored(policy) + guided(policy) + step_ends(policy) + labels(policy)
           + greedy(policy, "validation", *tests(policy)) + samples(policy, "train", *tests(policy)) + threshold(policy)]


rule generalize:
    input: nb=notebook("09_generalize"), tables=RESULTS
    output: nb=executed("09_generalize"), table=tables(names.RESULTS)
    params: reads("generalize"), modules("notebooks/09_generalize.ipynb")
    priority: 1
    shell: EXECUTE


rule claims:
    input: nb=notebook("12_claims"), weights=weights(*POLICIES),
           paper=PAPER,
           tables=RESULTS + [path for policy in POLICIES for path in token_tables(policy)]
                  + trained(*trainings(*PROFILE.reward_models))
    output: nb=executed("12_claims"), tables=tables(names.LEDGER, names.COSTS), tally=files(names.TALLY)
    params: reads("claims"), modules("notebooks/12_claims.ipynb")
    shell: EXECUTE


# A site that cannot be built leaves the old one as it was: `update` keeps its first page, the mark tells them apart.
rule site:
    input: notebooks=CHAPTERS,
           code=source("asprm/site/build.py", *code.modules(SOURCE / "asprm/site/build.py", SOURCE)),  # pages show docstrings
           pages=source("_config.yml", "_toc.yml", *(p for p in sorted((SOURCE / "book").rglob("*")) if p.is_file()),
                        *sorted((SOURCE / "data" / "paper").glob("*.yml")),
                        *sorted((SOURCE / "data" / "reference").glob("*.json")),
                        *sorted((SOURCE / "benchmarks" / "results").glob("*.json")))
    output: mark=touch(f"{RUN}/.site"), page=update(f"{RUN}/site/index.html")
    params: PROFILE.model_dump_json()
    shell: "{sys.executable} -m asprm.workflow.forkserver asprm.site.build --profile {NAME}"
