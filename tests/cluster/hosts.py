"""Hosts on one machine: processes in namespaces of their own, each with an address, a name, a home and an sshd.

    with Hosts(folder) as hosts:
        hosts.run("laptop", "ssh head hostname")
        hosts.cut("worker-1")     # its cable is pulled
        hosts.heal("worker-1")
        hosts.kill("worker-2")    # its power is gone
        hosts.start("worker-2")

Everything of a host lives as long as its first process, and that no longer than the process that made it: nothing of it
is in the machine's own network or its list of mounts, so nothing can be left behind.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
LAPTOP, HEAD, WORKERS = "laptop", "head", ("worker-1", "worker-2")
ADDRESSES = {LAPTOP: "10.77.0.1", HEAD: "10.77.0.11", "worker-1": "10.77.0.12", "worker-2": "10.77.0.13"}
TOOLS = ("setpriv", "unshare", "nsenter", "ip", "ssh", "ssh-keygen", "sshd", "rsync")
READY_S = 60.0
ENTER = ("nsenter", "--mount", "--uts", "--ipc", "--net", "--pid", "--target")


def why_not() -> str | None:
    """Returns why this machine cannot create hosts, or None if it can."""
    if os.geteuid():
        return "making hosts needs root"
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"no {', '.join(missing)} here; tests/cluster/setup installs them"
    trial = ["unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--mount-proc"]
    link = ["ip", "link", "add", "end", "type", "veth", "peer", "name", "other"]
    for command in ([*trial, "true"], [*trial, *link]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return f"no namespaces here: {done.stderr.strip()}"
    return None


class Hosts:
    """A laptop, to which all others are wired, a head and two workers.

    Args:
        folder: for their homes and keys; what else is in it all of them see, like a mounted file system.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder / "key"
        self._first: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> "Hosts":
        _call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key))
        try:
            for name in ADDRESSES:
                self.start(name)
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.remove()

    def start(self, name: str) -> None:
        """Makes a host, and waits until one can log in."""
        home = self._furnished(name)
        shared = [str(place) for place in (CHECKOUT, self.folder) if place.is_relative_to("/tmp")]
        with (home.parent / "log").open("a") as log:
            self._first[name] = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL"),
                    *("unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--mount-proc", "--kill-child=KILL"),
                    *(str(HERE / "host"), name, str(home.parent), *shared),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            )
        self._wire(name)
        self._wait_for(name, home.parent / "log")

    def run(self, name: str, command: str, timeout: float = 600, check: bool = True) -> subprocess.CompletedProcess:
        """Runs a line of bash as root on a host, from its home."""
        process = self.begin(name, command)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            end(process)
            out, err = process.communicate()
            raise AssertionError(f"{name}: {command}\nwent on after {timeout:g} s\n{last_lines(out + err)}") from None
        if check and process.returncode:
            raise AssertionError(f"{name}: {command}\nended with {process.returncode}\n{last_lines(out + err)}")
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def begin(self, name: str, command: str, **how: object) -> subprocess.Popen:
        """Starts a line of bash as root on a host; its first process is the first process of a new session."""
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **how}
        home = self.home(name)
        path = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return subprocess.Popen(
            [*ENTER, str(self._pid(name)), "bash", "-c", f"cd && {command}"],
            env={"HOME": str(home), "PATH": path, "USER": "root", "LANG": "C.UTF-8"},
            text=True,
            start_new_session=True,
            **how,
        )

    def ssh(self, name: str, command: str, timeout: float = 300, check: bool = True) -> subprocess.CompletedProcess:
        """Runs a line of bash on a host by logging in from the laptop."""
        return self.run(LAPTOP, f"ssh {name} {shlex.quote(command)}", timeout, check)

    def home(self, name: str) -> Path:
        """Root's home there."""
        return self.folder / name / "home"

    def cut(self, name: str) -> None:
        """Pulls its cable: it keeps running without any connection."""
        self._on_laptop("ip", "link", "set", f"to-{name}", "down")

    def heal(self, name: str) -> None:
        """Plugs the cable in again."""
        self._on_laptop("ip", "link", "set", f"to-{name}", "up")

    def kill(self, name: str) -> None:
        """Cuts its power: all its processes end at once, wherever they are."""
        first = self._first.pop(name)
        with suppress(ProcessLookupError, FileNotFoundError):
            os.kill(_child(first.pid), signal.SIGKILL)
        first.wait(READY_S)

    def remove(self) -> None:
        """Ends all hosts."""
        for name in [*self._first]:
            self.kill(name)

    def _furnished(self, name: str) -> Path:
        """The files of a host on the disk: its home, which outlives its power."""
        folder = self.folder / name
        for place in ("tmp", "home/.ssh"):
            (folder / place).mkdir(parents=True, exist_ok=True)
        if not (folder / "host_key").exists():
            _call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "host_key"))
        lines = [f"{address} {host}" for host, address in ADDRESSES.items()]
        (folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines]) + "\n")
        root = f"root:x:0:0:root:{folder / 'home'}:/bin/bash"
        others = [line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith("root:")]
        (folder / "passwd").write_text("\n".join([root, *others]) + "\n")
        (folder / "sshd_config").write_text(SSHD.format(folder=folder, authorized=f"{self.key}.pub"))
        (folder / "home/.bashrc").touch()
        (folder / "home/.ssh/config").write_text(SSH.format(key=self.key))
        for private in ("home", "home/.ssh"):
            (folder / private).chmod(0o700)
        return folder / "home"

    def _wire(self, name: str) -> None:
        """Gives it its address: the laptop holds the switch and one end of each cable."""
        address = ADDRESSES[name]
        if name == LAPTOP:
            self._on_laptop("ip", "link", "add", "switch", "type", "bridge")
            self._on_laptop("ip", "address", "add", f"{address}/24", "dev", "switch")
            self._on_laptop("ip", "link", "set", "switch", "up")
            return
        here = f"to-{name}"
        other = ("peer", "name", "eth0", "netns", str(self._pid(name)))
        self._on_laptop("ip", "link", "add", here, "type", "veth", *other)
        self._on_laptop("ip", "link", "set", here, "master", "switch", "up")
        there = ("nsenter", "--net", "--target", str(self._pid(name)), "ip")
        _call(*there, "address", "add", f"{address}/24", "dev", "eth0")
        _call(*there, "link", "set", "eth0", "up")
        _call(*there, "route", "add", "default", "via", ADDRESSES[LAPTOP])

    def _on_laptop(self, *command: str) -> None:
        _call("nsenter", "--net", "--target", str(self._pid(LAPTOP)), *command)

    def _pid(self, name: str) -> int:
        """The number of its first process, as this process sees it."""
        return _child(self._first[name].pid)

    def _wait_for(self, name: str, log: Path) -> None:
        for _ in range(int(READY_S * 10)):
            if self._first[name].poll() is not None:
                break
            if "Server listening" in log.read_text() and not self.ssh(name, "true", check=False).returncode:
                return
            time.sleep(0.1)
        raise AssertionError(f"{name} does not answer: {log.read_text()}")


SSHD = """Port 22
HostKey {folder}/host_key
AuthorizedKeysFile {authorized}
PidFile none
StrictModes no
UsePAM no
UseDNS no
PasswordAuthentication no
Subsystem sftp internal-sftp
"""
SSH = """Host *
    IdentityFile {key}
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
    ConnectTimeout 5
"""


def end(process: subprocess.Popen) -> None:
    """Ends what `Hosts.begin` began, with all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def last_lines(text: str) -> str:
    """The relevant part of a long output."""
    return "\n".join(text.splitlines()[-40:])


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr}"


def _child(pid: int) -> int:
    """The only process below `pid`, once it is there."""
    for _ in range(int(READY_S * 100)):
        if children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            return int(children[0])
        time.sleep(0.01)
    raise AssertionError(f"process {pid} began nothing")
