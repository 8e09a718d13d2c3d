# The study: each stage is a notebook that reads earlier stages' tables and writes its own, run once per profile.
#   snakemake --cores 2                          the default profile, `tiny`
#   snakemake --cores 2 --config profile=smoke   another one, or the path of a .yml file
#   snakemake --cores 8 --set-scatter shards=8   with the long stages cut into shards, which run side by side
# A stage runs again when its notebook, the code that it imports, a number that it reads from the profile or a table that
# it reads has changed, or when something that it wrote is missing. Data stand below $ASPRM_HOME, by default below this
# folder.
#
# Snakemake sees artifacts by their digests only: sample/M/train.digest stands for sample/M/train.parquet. It plans all that
# may have to run. Each job then compares, when its turn comes, what it would read with what it read the last time, and is
# passed over where nothing differs (asprm.workflow.job).
import json
import os
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

SOURCE = Path(workflow.basedir)
sys.path.insert(0, str(SOURCE))
from asprm.models.fetch import fetched
from asprm.models.load import in_place_of
from asprm.problems.hub import given_paths
from asprm.problems.sets import has_rivals, knows_truth, rated_sets, test_sets
from asprm.run import code, names
from asprm.run.names import Method, Training
from asprm.run.sections import ProfileError
from asprm.run.profile import load_profile
from asprm.site.reference import QUANTITIES
from asprm.workflow import devices, forkserver, job, lock
from asprm.workflow.shard import SCATTERED

if unknown := config.keys() - {"profile", "jobs"}:
    raise WorkflowError(f"--config: unknown key '{min(unknown)}'; expected profile=<name or .yml file>")
GIVEN = str(config.get("profile", "tiny"))
NAME = str(Path(GIVEN).resolve()) if Path(GIVEN).is_file() else GIVEN
HOME = Path(os.environ.setdefault("ASPRM_HOME", str(SOURCE))).resolve()  # relative paths do not survive a link
try:
    (HOME / ".snakemake").mkdir(parents=True, exist_ok=True)  # Snakemake's own folder, which it would make with a traceback
except OSError as error:
    raise WorkflowError(f"cannot write in {HOME} ({error.strerror}): set ASPRM_HOME to a folder of your own, for runs")
try:
    PROFILE = load_profile(NAME)
    DATA_PATHS = PROFILE.data | given_paths()
    in_place_of("", PROFILE.models, HOME)  # ValueError: $ASPRM_MODELS
except (ProfileError, ValueError) as error:
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
CHAPTER = {chapter.partition("_")[2]: chapter for chapter in BY_POLICY}

# Into how many shards the long stages are cut; 1 leaves all to the notebooks.
scattergather:
    shards=1


SHARDS = len(gather.shards("{scatteritem}"))
# What each stage's jobs ask a cluster for, by stage (profiles/slurm/jobs.yml); empty on a single machine.
NEEDS = config.get("jobs", {})
# Heavy notebooks of two policies go side by side: while one starts, the other computes. A GPU is not shared.
GPUS = len(devices.visible())
SIDE_BY_SIDE = min(GPUS or 2, len(POLICIES))
JOB = "{sys.executable:q} -m asprm.workflow.forkserver asprm.workflow.job {RUN:q} {rule} "
EXECUTE = JOB + "asprm.workflow.notebook {input.nb:q} {params.out:q} -p profile {NAME:q}"
OF_POLICY = EXECUTE + " -p policy {params.policy:q}"
SHARD = ("{sys.executable:q} -m asprm.workflow.forkserver asprm.workflow.shard {params.stage} --part={params.part} "
         "--shard {params.shard} -p profile {NAME:q} -p policy {params.policy:q} "
         "--unless-kept {RUN:q} {params.stage}_{params.policy} && touch {output:q}")


def source(*paths):
    """Paths of this folder, relative to HOME, so that a moved clone does not count as changed."""
    return [os.path.relpath(SOURCE / path, HOME) for path in paths]


def notebook(chapter):
    return source(f"notebooks/{chapter}.ipynb")


def modules(path):
    """What the modules do that a notebook or module imports, as a digest: a comment reruns nothing."""
    return code.state(SOURCE / path, SOURCE)


def watched(values):
    """JSON in which Snakemake finds no wildcard: {problem} is written as \\u007bproblem}, which says the same."""
    return re.sub(r"\{(\w+)\}", r"\\u007b\1}", json.dumps(values, sort_keys=True))


def reads(stage):
    """What a stage reads of the profile, and who plays which of the paper's parts where runs are compared."""
    return watched(PROFILE.reads(stage) | ({"cast": PROFILE.cast} if PROFILE.cast else {}))


def out(chapter, policy=None):
    """The executed copy of a notebook."""
    return f"{RUN}/notebooks/{chapter}{f'-{policy}' if policy else ''}.ipynb"


def executed(chapter, policy=None):
    return out(chapter, policy).removesuffix(".ipynb") + ".digest"


def artifacts(*stems):
    """Tables, JSON files and models, by the files that hold their digests."""
    return [f"{RUN}/{stem}.digest" for stem in stems]


def local(path, *roots):
    """The files at a path that a profile names, in the first of the folders `roots` that has it; none if none has."""
    for there in (root / path for root in roots):
        if there.is_file():
            return source(there)
        if there.is_dir():
            inside = (file.relative_to(there) for file in there.rglob("*") if file.is_file())
            return source(*(there / file for file in sorted(inside) if not any(part[0] == "." for part in file.parts)))
    return []


def model_files(path):
    """The files of a model that is not made here: it came with the study or lies in a folder; none if on the hub."""
    return local(in_place_of(path, PROFILE.models, HOME), HOME.resolve(), SOURCE) if path else []


def weights(*policies):
    if PROFILE.policy.retrain:
        return artifacts(*map(names.policy_weights, policies))
    return [file for policy in policies for file in model_files(PROFILE.policies[policy].path)]


def reward_bases(*reward_models):
    """The files that reward models start from where these are not their policies' own."""
    bases = sorted({PROFILE.reward_models[name].base for name in reward_models})
    return [file for base in bases for file in model_files(PROFILE.policies[base].reward_base)]


def published(*reward_models):
    return [file for name in reward_models for file in model_files(PROFILE.reward_models[name].published)]


# Rows of published problems that the profile or $ASPRM_DATA names by path. Notebooks are executed in this folder.
SETS = {*PROFILE.problems.train, *PROFILE.problems.validation, *PROFILE.problems.test}
DATA = [file for name in sorted(SETS & DATA_PATHS.keys()) for file in local(DATA_PATHS[name], SOURCE)]


def cores(stage, side_by_side=SIDE_BY_SIDE):
    """How many cores a job of a stage takes: its share of this machine's, or what it asks a cluster for."""
    if NEEDS:
        return (NEEDS["default"] | NEEDS.get(stage, {}))["threads"]
    return max(1, workflow.cores // side_by_side)


def needs(stage, computes=False):
    """What else a job of a stage takes. computes: models, on one of this machine's GPUs if there are any."""
    if NEEDS:
        return {name: value for name, value in (NEEDS["default"] | NEEDS.get(stage, {})).items() if name != "threads"}
    return {"gpu": 1} if computes and GPUS else {}


def shards(stage, policy, *parts):
    """The files that say that a stage's shards are there, of some of its parts or of all; none if it is not cut."""
    patterns = [f"{RUN}/{names.shard(stage, policy, part, '{scatteritem}')}" for part in parts or SCATTERED[stage]]
    return [file for pattern in patterns for file in gather.shards(pattern)] if SHARDS > 1 else []


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
    return artifacts(*(names.samples(policy, one) for one in sets))


def greedy(policy, *sets):
    return artifacts(*(names.greedy_samples(policy, one) for one in sets))


def threshold(policy):
    return artifacts(names.threshold(policy))


def step_ends(policy):
    splits = dict.fromkeys(Method.parse(method).split for method in PROFILE.methods(policy))
    return artifacts(*(names.step_ends(policy, split) for split in splits))


def labels(policy):
    return artifacts(*(names.labels(policy, method) for method in PROFILE.methods(policy)))


def trainings(*reward_models):
    return [training for name in reward_models for training in PROFILE.seeds_of(name)]


def trained(*models):
    """Those reward models that are trained here; published ones are no files of this run."""
    own = [name for name in models if not PROFILE.reward_models[Training.parse(name).reward_model].published]
    return artifacts(*map(names.reward_model, own))


def token_tables(policy):
    code = PROFILE.policies[policy].domain == "code"
    return artifacts(names.token_types(policy), *([names.token_places(policy)] if code else []))


def data_of(policy):
    """What the reward models trained with the policy learn from: labels, and the samples of whoever wrote them."""
    learned = {table for name in PROFILE.trained_on(policy) for table in PROFILE.reward_models[name].tables}
    rows = sorted(names.labels(table.policy, table.method) for table in learned)
    writers = sorted({table.policy for table in learned})
    return artifacts(*rows) + [path for writer in writers for path in samples(writer, "train")]


def raters(policy):
    """The reward models that rate the policy's candidates, each training of those that start from it."""
    return [one for name in PROFILE.best_of_n.score[policy] for one in PROFILE.trainings(name, policy)]


def scored(policy):
    """Tables of Best-of-N: one table per reward model and set stands for those at other places."""
    return artifacts(*(names.scores(prm, policy, one) for prm in raters(policy) for one in rated_sets(PROFILE, prm, policy)))


def guided(policy):
    prms = PROFILE.tvd.guide[policy]
    sets = ("validation", *tests(policy))
    return artifacts(*(names.trigger(prm, policy) for prm in prms)) + artifacts(
        *(names.guided(prm, policy, one) for prm in prms for one in sets))


PAPER = source("data/paper/claims.yml")
# What comes with the project of other runs, shown beside this one: chapters read the tables, the site all of it.
REFERENCE = source(*(file for file in sorted((SOURCE / "data/reference").glob("*/**/*")) if file.is_file()))
BESIDE = [file for file in REFERENCE if file.endswith((f"/{QUANTITIES}.parquet", f"/{names.LEDGER}.parquet"))]
TRUTHS = [policy for policy in POLICIES if knows_truth(PROFILE, policy)]
CHAPTERS = [executed(chapter) for chapter in ALONE]
CHAPTERS += [executed(chapter, policy) for chapter in BY_POLICY for policy in POLICIES]
CHAPTERS += [executed("11_truth", policy) for policy in TRUTHS]
CHAPTERS += [executed("13_rivals")] if has_rivals(PROFILE) else []


onstart:
    if OTHER:
        raise WorkflowError(OTHER)
    try:
        held = lock.take(Path(RUN))
    except lock.RunIsBusy as error:
        raise WorkflowError(str(error)) from None
    dag = workflow.dag
    forced = {one.rule.name for one in dag.jobs if one.rule in dag.forcerules or dag.forcefiles & {*one.output}}
    job.describe(Path(RUN), STAGES, forced)
    if workflow.local_exec:  # a job of a cluster must not leave its place for this process's
        forkserver.start(held)


# Priority 2: jobs that no other one waits for. Priority 1: the longest of the last jobs, so that no core idles at the end.
rule policy:
    input: nb=notebook("01_policy"), paper=PAPER, data=DATA, weights=[] if PROFILE.policy.retrain else weights(*POLICIES)
    output: nb=executed("01_policy"), model=weights(*POLICIES) if PROFILE.policy.retrain else []
    params: reads("policy"), modules("notebooks/01_policy.ipynb"), out=out("01_policy")
    threads: cores("policy", side_by_side=1) if PROFILE.policy.retrain else 1
    resources: **needs("policy", computes=PROFILE.policy.retrain)
    priority: 2
    shell: EXECUTE


for policy in POLICIES:

    rule:
        name: f"sample_{policy}"
        input: nb=notebook("02_sample"), beside=BESIDE, data=DATA, weights=weights(policy),
               shards=shards("sample", policy)
        output: nb=executed("02_sample", policy), tables=samples(policy, "train", "validation", *tests(policy)),
                greedy=greedy(policy, "validation", *tests(policy))
        params: reads("sample"), modules("notebooks/02_sample.ipynb"), policy=policy, out=out("02_sample", policy)
        threads: cores("sample")
        resources: **needs("sample", computes=True)
        priority: urgency("labels", policy)
        shell: OF_POLICY


    rule:
        name: f"threshold_{policy}"
        input: nb=notebook("03_threshold"), beside=BESIDE, tables=samples(policy, "train")
        output: nb=executed("03_threshold", policy), table=threshold(policy)
        params: reads("threshold"), modules("notebooks/03_threshold.ipynb"), policy=policy, out=out("03_threshold", policy)
        resources: **needs("threshold")
        priority: urgency("labels", policy)
        shell: OF_POLICY


    rule:
        name: f"split_{policy}"
        input: nb=notebook("04_split"), beside=BESIDE, weights=weights(policy),
               tables=samples(policy, "train") + threshold(policy)
        output: nb=executed("04_split", policy), tables=step_ends(policy)
        params: reads("split"), modules("notebooks/04_split.ipynb"), policy=policy, out=out("04_split", policy)
        resources: **needs("split")
        priority: urgency("labels", policy)
        shell: OF_POLICY


    rule:
        name: f"rollout_{policy}"
        input: nb=notebook("05_rollout"), beside=BESIDE, data=DATA, weights=weights(policy),
               shards=shards("rollout", policy),
               tables=samples(policy, "train") + step_ends(policy)
        output: nb=executed("05_rollout", policy), tables=labels(policy)
        params: reads("rollout"), modules("notebooks/05_rollout.ipynb"), policy=policy, out=out("05_rollout", policy)
        threads: cores("rollout")
        resources: **needs("rollout", computes=True)
        priority: urgency("labels", policy)
        shell: OF_POLICY


    rule:
        name: f"prm_{policy}"
        input: nb=notebook("06_prm"), beside=BESIDE, data=DATA, tables=data_of(policy),
               bases=reward_bases(*PROFILE.trained_on(policy)),
               weights=weights(*{policy, *(PROFILE.reward_models[name].base for name in PROFILE.trained_on(policy))})
        output: nb=executed("06_prm", policy), models=trained(*trainings(*PROFILE.trained_on(policy))),
                logs=artifacts(*map(names.training_log, trainings(*PROFILE.trained_on(policy))))
        params: reads("prm"), modules("notebooks/06_prm.ipynb"), policy=policy, out=out("06_prm", policy)
        threads: cores("prm")
        resources: **needs("prm", computes=True)
        priority: urgency("prm", policy)
        shell: OF_POLICY


    rule:
        name: f"best_of_n_{policy}"
        input: nb=notebook("07_best_of_n"), beside=BESIDE, data=DATA, weights=weights(policy),
               shards=shards("best_of_n", policy),
               published=published(*PROFILE.best_of_n.score[policy]),
               tables=samples(policy, "validation", *tests(policy)) + greedy(policy, "validation", *tests(policy))
                      + threshold(policy) + trained(*raters(policy))
        output: nb=executed("07_best_of_n", policy), tables=scored(policy)
        params: reads("best_of_n"), modules("notebooks/07_best_of_n.ipynb"), policy=policy, out=out("07_best_of_n", policy)
        threads: cores("best_of_n")
        resources: **needs("best_of_n", computes=True)
        priority: urgency("best_of_n", policy)
        shell: OF_POLICY


    rule:
        name: f"tvd_{policy}"
        input: nb=notebook("08_tvd"), beside=BESIDE, paper=PAPER, data=DATA, weights=weights(policy),
               shards=shards("tvd", policy),
               published=published(*PROFILE.tvd.guide[policy]),
               tables=greedy(policy, "validation", *tests(policy)) + trained(*PROFILE.tvd.guide[policy])
        output: nb=executed("08_tvd", policy), tables=guided(policy),
                decision=artifacts(names.decision(PROFILE.prm_of(policy), policy))
        params: reads("tvd"), modules("notebooks/08_tvd.ipynb"), policy=policy, out=out("08_tvd", policy)
        threads: cores("tvd")
        resources: **needs("tvd", computes=True)
        priority: urgency("tvd", policy)
        shell: OF_POLICY


    rule:
        name: f"tokens_{policy}"
        input: nb=notebook("10_tokens"), beside=BESIDE, paper=PAPER, weights=weights(policy),
               tables=samples(policy, "train") + threshold(policy)
        output: nb=executed("10_tokens", policy), tables=token_tables(policy)
        params: reads("tokens"), modules("notebooks/10_tokens.ipynb"), policy=policy, out=out("10_tokens", policy)
        resources: **needs("tokens")
        priority: 2
        shell: OF_POLICY


    if policy in TRUTHS:

        rule:
            name: f"truth_{policy}"
            input: nb=notebook("11_truth"), weights=weights(policy),
                   tables=samples(policy, "train", "validation", *tests(policy)) + greedy(policy, *tests(policy))
                          + scored(policy) + guided(policy) + step_ends(policy) + labels(policy) + threshold(policy)
            output: nb=executed("11_truth", policy), tables=artifacts(*(names.truth(policy, one) for one in names.TRUTH))
            params: reads("truth"), modules("notebooks/11_truth.ipynb"), policy=policy, out=out("11_truth", policy)
            resources: **needs("truth")
            shell: OF_POLICY


    # A shard is one long job that computes its part of a stage's chunks; the notebook finds them all. One that is killed is
    # started again, and goes on from what it had.
    for stage in SCATTERED if SHARDS > 1 else ():
        for earlier, part in zip(("", *SCATTERED[stage]), SCATTERED[stage]):

            rule:
                name: "_".join(filter(None, (stage, policy, part, "shard")))
                input: [file for file in getattr(rules, f"{stage}_{policy}").input if not names.is_shard(file)],
                       shards(stage, policy, earlier) if earlier else []
                output: temp(f"{RUN}/{names.shard(stage, policy, part, '{scatteritem}')}")
                params: reads(stage), modules(f"notebooks/{CHAPTER[stage]}.ipynb"), stage=stage, policy=policy, part=part,
                        shard=lambda wildcards: wildcards.scatteritem.replace("-of-", "/")
                threads: cores(stage, min(SHARDS, GPUS or SHARDS))
                resources: **needs(stage, computes=True)
                priority: urgency("labels" if stage in ("sample", "rollout") else stage, policy)
                retries: 3
                shell: SHARD


RESULTS = [path for policy in POLICIES for path in scored(policy) + guided(policy) + step_ends(policy) + labels(policy)
           + greedy(policy, "validation", *tests(policy)) + samples(policy, "train", *tests(policy)) + threshold(policy)]


rule generalize:
    input: nb=notebook("09_generalize"), data=DATA, tables=RESULTS
    output: nb=executed("09_generalize"), table=artifacts(names.RESULTS)
    params: reads("generalize"), modules("notebooks/09_generalize.ipynb"), out=out("09_generalize")
    resources: **needs("generalize")
    priority: 1
    shell: EXECUTE


rule claims:
    input: nb=notebook("12_claims"), weights=weights(*POLICIES),
           paper=PAPER, beside=BESIDE,
           tables=RESULTS + [path for policy in POLICIES for path in token_tables(policy)]
                  + trained(*trainings(*PROFILE.reward_models))
    output: nb=executed("12_claims"), tables=artifacts(names.LEDGER, names.COSTS), tally=artifacts(names.TALLY)
    params: reads("claims"), modules("notebooks/12_claims.ipynb"), out=out("12_claims")
    resources: **needs("claims")
    shell: EXECUTE


if has_rivals(PROFILE):
    FIRST = POLICIES[0]
    FIRST_TEST = tests(FIRST)[0]
    JUDGES = [name for name in PROFILE.of_role("own", "baseline") if PROFILE.reward_models[name].base == FIRST]

    rule rivals:
        input: nb=notebook("13_rivals"), beside=BESIDE, data=DATA,
               weights=weights(FIRST) + reward_bases(*JUDGES), published=published(*JUDGES),
               tables=samples(FIRST, "train", "validation", FIRST_TEST) + threshold(FIRST)
                      + trained(PROFILE.prm_of(FIRST), *JUDGES)
                      + artifacts(names.scores(PROFILE.prm_of(FIRST), FIRST, FIRST_TEST),
                                  names.trigger(PROFILE.prm_of(FIRST), FIRST))
        output: nb=executed("13_rivals"), tables=artifacts(*(names.rivals(FIRST, one) for one in names.RIVALS))
        params: reads("rivals"), modules("notebooks/13_rivals.ipynb"), out=out("13_rivals")
        threads: cores("rivals")
        resources: **needs("rivals", computes=True)
        priority: 1
        shell: EXECUTE


# The how-to "AdaptiveStep on your model" is executed where its model is; elsewhere the site shows the copy that comes along.
if fetched("smollm2", HOME):

    rule own_model:
        input: nb=source("book/own-model.ipynb")
        output: nb=f"{RUN}/own-model.digest"
        params: modules("asprm/cli.py"), out=f"{RUN}/own-model.ipynb"
        threads: cores("own_model", side_by_side=1)
        resources: **needs("own_model", computes=True)
        priority: 2
        shell: JOB + "asprm.workflow.notebook {input.nb:q} {params.out:q}"

    CHAPTERS.append(f"{RUN}/own-model.digest")


rule site:
    input: notebooks=CHAPTERS,
           pages=source("_config.yml", "_toc.yml", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff",
                        *(p for p in sorted((SOURCE / "book").rglob("*")) if p.is_file()),
                        *sorted((SOURCE / "asprm" / "site" / "assets").glob("*")),
                        *sorted((SOURCE / "data" / "paper").glob("*.yml")),
                        *sorted((SOURCE / "data" / "reference").glob("*.*")),
                        *sorted((SOURCE / "benchmarks" / "results").glob("*.json"))),
           references=REFERENCE
    output: f"{RUN}/site.digest"
    params: watched(PROFILE.model_dump(mode="json")), code.package_state(SOURCE)  # pages show docstrings
    resources: **needs("site")
    shell: JOB + "asprm.site.build --profile {NAME:q}"


STAGES = [rule for rule in workflow.rules if not names.is_shard(rule.output[0])]


# Every artifact is asked for by name: Snakemake leaves a missing file alone where all that was made from it is there.
rule all:
    input: [file for stage in STAGES for file in stage.output]
    default_target: True


# So that one can ask for a table itself.
for kind in ("parquet", "json", "ipynb"):

    rule:
        name: kind
        input: RUN + "/{artifact}.digest"
        output: RUN + "/{artifact}." + kind


# A run that is at work puts its own folder in order, and its jobs on a cluster, which read this file too, do not.
if workflow.is_main_process and not (OTHER := lock.other_run(Path(RUN))):
    job.forget_changed(Path(RUN), STAGES)
