"""A Ray cluster of the hosts, made as its user makes one: scripts/cluster-local.yaml, `ray up`, scripts/submit."""

import json
import secrets
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

import yaml
from bucket import ENVIRONMENT
from hosts import ADDRESSES, CHECKOUT, HEAD, HERE, LAPTOP, WORKERS, Hosts, end, last_lines

NODES_S = 300.0  # until all hosts are nodes
# A host that is cut off is noticed in 20 seconds instead of a minute, and a slow machine does not count as a dead host.
QUICK = {
    "RAY_health_check_initial_delay_ms": 20000,
    "RAY_health_check_period_ms": 1000,
    "RAY_health_check_timeout_ms": 4000,
    "RAY_health_check_failure_threshold": 4,
    "AUTOSCALER_HEARTBEAT_TIMEOUT_S": 15,
    "RAY_raylet_start_wait_time_s": 240,
    "RAY_worker_niceness": 0,  # beside whatever else this machine does
}
SMALL = "--object-store-memory=150000000"
CPUS = 2  # of a worker
LIST_NODES = """
import json, ray
ray.init(address="auto", logging_level="ERROR", log_to_driver=False)
print(json.dumps([node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]]))
"""


class Cluster:
    """Three hosts with Ray, and the laptop that talks to them.

    Attributes:
        file: the cluster's file.
        folder: one that all hosts see.
    """

    def __init__(self, hosts: Hosts) -> None:
        self.hosts, self.folder = hosts, hosts.folder
        self.file = self.folder / "cluster.yaml"
        self.file.write_text(yaml.safe_dump(self._config(), sort_keys=False))
        for name in (HEAD, *WORKERS):
            _install(hosts.home(name) / ".resvae-ray")
        token = hosts.home(LAPTOP) / ".ray/auth_token"
        token.parent.mkdir(exist_ok=True)
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)

    def up(self) -> None:
        """`ray up`, from the checkout, until all hosts are nodes."""
        started = time.monotonic()
        self.hosts.run(LAPTOP, f"cd {CHECKOUT} && RAY_AUTH_MODE=token ray up --yes --no-config-cache {self.file}")
        head = time.monotonic() - started
        self.wait_for_nodes(HEAD, *WORKERS)
        print(f"ray up: the head after {head:.0f} s, three nodes after {time.monotonic() - started:.0f} s")

    def nodes(self) -> list[str]:
        """The hosts that Ray considers alive."""
        done = self.on_head(f"python -c {shlex.quote(LIST_NODES)}")
        return sorted(json.loads(done.stdout.strip().splitlines()[-1]))

    def wait_for_nodes(self, *names: str) -> None:
        wait(lambda: self.nodes() == sorted(names), NODES_S, f"the nodes are not {names}")

    def on_head(self, command: str, check: bool = True) -> subprocess.CompletedProcess:
        """A line of bash on the head, with the cluster's environment."""
        environment = "export PATH=$HOME/.resvae-ray/venv/bin:$PATH RAY_AUTH_MODE=token"
        return self.hosts.ssh(HEAD, f"{environment}; {command}", check=check)

    def begin(self, verb: str, *arguments: object) -> "Submitted":
        """Starts scripts/submit on the laptop with the verb, the cluster's file and `arguments`."""
        line = shlex.join([str(CHECKOUT / "scripts/submit"), verb, str(self.file), *map(str, arguments)])
        return Submitted(self.hosts.begin(LAPTOP, line), line)

    def submit(self, verb: str, *arguments: object) -> str:
        """The output of the verb, which has to succeed."""
        return self.begin(verb, *arguments).finish()

    def kill_driver(self) -> None:
        """Kills the process of the running job on the head, as the OOM killer would."""
        listed = self.on_head("ps -eo pid,args").stdout.splitlines()
        drivers = [line.split()[0] for line in listed if " python -m resvae_ray " in line and "/bin/sh" not in line]
        assert len(drivers) == 1, listed
        self.on_head(f"kill -KILL {drivers[0]}")

    def _config(self) -> dict:
        """scripts/cluster-local.yaml for these hosts, which have what its set-up commands would install."""
        config = yaml.safe_load((CHECKOUT / "scripts/cluster-local.yaml").read_text())
        config["provider"] |= {"head_ip": ADDRESSES[HEAD], "worker_ips": [ADDRESSES[name] for name in WORKERS]}
        config["auth"] = {"ssh_user": "root", "ssh_private_key": str(self.hosts.key)}
        config["setup_commands"] = [line for line in config["setup_commands"] if "chmod" in line]
        quick = "export " + " ".join(f"{name}={value}" for name, value in {**QUICK, **ENVIRONMENT}.items())
        for kind, extra in {"head": SMALL, "worker": f"{SMALL} --num-cpus={CPUS}"}.items():
            lines = config[f"{kind}_start_ray_commands"]
            config[f"{kind}_start_ray_commands"] = [
                f"{quick}; {line} {extra}" if "ray start" in line else line for line in lines
            ]
        return config


class Submitted:
    """A script that runs on the laptop."""

    def __init__(self, process: subprocess.Popen, line: str) -> None:
        self._process, self._line = process, line

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def end(self, timeout: float = 600) -> tuple[int, str]:
        """Returns the exit code and the whole output."""
        try:
            out, err = self._process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            end(self._process)
            out, err = self._process.communicate()
            raise AssertionError(f"{self._line}\nwent on after {timeout:g} s\n{last_lines(out + err)}") from None
        return self._process.returncode, out + err

    def finish(self) -> str:
        """Returns the output; the script must succeed."""
        code, printed = self.end()
        assert code == 0, f"{self._line}\nended with {code}\n{last_lines(printed)}"
        return printed

    def close_laptop(self) -> None:
        """Ends the script without notifying the cluster."""
        end(self._process)
        self._process.communicate()


def wait(until: Callable[[], bool], seconds: float, otherwise: str) -> float:
    """Waits until a condition is true and returns the seconds that it took."""
    started = time.monotonic()
    while not until():
        if time.monotonic() - started > seconds:
            raise AssertionError(f"{otherwise}, after {seconds:g} s")
        time.sleep(0.2)
    return time.monotonic() - started


def _install(folder: Path) -> None:
    """An environment as the set-up commands make it: the packages of this one, and the source that `ray up` brings."""
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    found = sysconfig.get_path("purelib", vars={"base": str(venv)})
    shutil.copy(HERE / "small.py", found)
    Path(found, "cluster.pth").write_text(f"{folder / 'source'}\n{sysconfig.get_path('purelib')}\nimport small\n")
    for script in filter(Path.is_file, Path(sys.prefix, "bin").iterdir()):
        if not (venv / "bin" / script.name).exists() and (text := _script(script)):
            (venv / "bin" / script.name).write_text(text.replace(sys.prefix, str(venv), 1))
            (venv / "bin" / script.name).chmod(0o755)


def _script(path: Path) -> str:
    """Returns the text of a Python script, or nothing for other programs."""
    content = path.read_bytes()
    return content.decode() if content.startswith(f"#!{sys.prefix}/bin/python".encode()) else ""
