#!/usr/bin/env bash
# ray.init(_node_ip_address="127.0.0.1") listens on all addresses of the machine.
#
# Versions: ray==2.60.0 psutil==7.2.2
# Behaviour: Ray replaces a loopback address by the address of the machine, and its servers then listen on all addresses, IPv6 included. With RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0, which is meant for other systems, it keeps loopback on Linux too.
# Consequence here: a local Ray is open to the network unless that variable is set before Ray is imported.
# Exits with 1 if the behaviour changes. Run: findings/ray_loopback_address.sh
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check ray==2.60.0 psutil==7.2.2
cat > "$work/listening.py" <<'PY'
import os

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import psutil
import ray

ray.init(
    address="local",
    num_cpus=1,
    include_dashboard=False,
    object_store_memory=100 << 20,
    log_to_driver=False,
    logging_level="ERROR",
    _node_ip_address="127.0.0.1",
)
ray.get(ray.remote(lambda: 1).remote())
driver = psutil.Process()
sockets = [socket for process in (driver, *driver.children(recursive=True)) for socket in process.net_connections()]
found = {socket.laddr.ip.removeprefix("::ffff:") for socket in sockets if socket.status == psutil.CONN_LISTEN}
print("loopback" if found == {"127.0.0.1"} else "all" if "::" in found else sorted(found))
ray.shutdown()
PY
cd "$work"
asked=$("$work/venv/bin/python" listening.py)
kept=$(RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 "$work/venv/bin/python" listening.py)
echo "asked for 127.0.0.1: listens on $asked; with RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0: on $kept"
[ "$asked" = all ] && [ "$kept" = loopback ]
