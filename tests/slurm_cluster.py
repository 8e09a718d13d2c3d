"""A SLURM cluster of one node on this machine, from Debian's packages, in a folder of its own: `make test-slurm`."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "srun")
# Jobs find the settings here only, since Snakemake's plugin unsets $SLURM_CONF for them.
_SETTINGS_PLACE = Path("/etc/slurm/slurm.conf")
_PATIENCE = 60.0  # seconds that the node may take to be idle
_SETTINGS = """
ClusterName=asprm
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
MinJobAge=600
ReturnToService=2
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """What this machine lacks for a cluster, in words; "" if nothing."""
    if os.geteuid() != 0:
        return "SLURM's daemons need root"
    if _SETTINGS_PLACE.exists():
        return f"this machine has a SLURM of its own, {_SETTINGS_PLACE}"
    lacks = [name for name in PROGRAMS if not shutil.which(name, path=f"/usr/sbin:{os.environ['PATH']}")]
    return f"missing: {', '.join(lacks)}" if lacks else ""


@contextmanager
def cluster(folder: Path, cores: int = 4, memory: int = 16000) -> Iterator[dict[str, str]]:
    """Start the cluster and end it with the block. Yields the environment in which SLURM's commands find it.

    Its settings are linked to from /etc/slurm meanwhile.

    folder: for its settings, sockets, logs and state. cores, memory (MB): of the node, in SLURM's eyes.
    RuntimeError: the node does not come up.
    """
    (folder / "state").mkdir(parents=True)
    (folder / "spool").mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    host, ports = socket.gethostname().partition(".")[0], _free_ports(2)
    settings = folder / "slurm.conf"
    settings.write_text(_SETTINGS.format(folder=folder, host=host, ports=ports, cores=cores, memory=memory))
    environment = os.environ | {"SLURM_CONF": str(settings), "PATH": f"/usr/sbin:{os.environ['PATH']}"}
    environment = {name: value for name, value in environment.items() if not name.startswith("SLURM_JOB")}
    munge = [f"--{name}={folder}/munge.{end}" for name, end in (("socket", "socket"), ("key-file", "key"))]
    munge += [
        f"--{name}={folder}/munge.{end}"
        for name, end in (("pid-file", "pid"), ("log-file", "log"), ("seed-file", "seed"))
    ]
    commands = (["munged", "--foreground", "--force", *munge], ["slurmctld", "-D", "-i"], ["slurmd", "-D", "-N", host])
    daemons = []
    _SETTINGS_PLACE.parent.mkdir(exist_ok=True)
    _SETTINGS_PLACE.symlink_to(settings)
    with open(folder / "daemons.log", "w") as log:
        try:
            for command in commands:
                daemons.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
                time.sleep(1)
            _wait_for_node(environment, folder)
            yield environment
        finally:
            for daemon in reversed(daemons):
                daemon.terminate()
            for daemon in daemons:
                try:
                    daemon.wait(10)
                except subprocess.TimeoutExpired:
                    daemon.kill()
            _SETTINGS_PLACE.unlink()


def _wait_for_node(environment: dict[str, str], folder: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        said = subprocess.run(
            ["sinfo", "-h", "-o", "%t"], env=environment, capture_output=True, text=True
        ).stdout.strip()
        if said == "idle":
            return
        time.sleep(0.5)
    logs = "\n".join(file.read_text(errors="replace")[-1500:] for file in sorted(folder.glob("*.log")))
    raise RuntimeError(f"the node is not idle after {_PATIENCE:.0f} s, but {said or 'unknown'}\n{logs}")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
