"""The cluster's files, as Ray reads them; where `ray up` would ask AWS, a stand-in answers."""

import copy
import re
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
AWS, LOCAL, RAYJOB = ROOT / "cluster.yaml", ROOT / "scripts/cluster-local.yaml", ROOT / "scripts/rayjob.yaml"
PINNED = dict(line.strip().split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
STARTS = ("head_start_ray_commands", "worker_start_ray_commands")


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user in the checkout, with a token, whom Ray does not warn."""
    from ray.autoscaler._private.cli_logger import cli_logger

    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray/auth_token").write_text("secret")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(ROOT)
    for kind in ("warning", "error"):
        monkeypatch.setattr(cli_logger, kind, lambda text, *_, **__: pytest.fail(text))


def prepared(path: Path) -> dict:
    """As the first steps of `ray up` leave it."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load(path.read_text()))
    validate_config(config)
    return config


@pytest.mark.usefixtures("launcher")
@pytest.mark.parametrize("path", [AWS, LOCAL], ids=lambda path: path.name)
class TestBothFiles:
    def test_ray_takes_it_without_a_warning(self, path):
        from ray.autoscaler._private.commands import warn_about_bad_start_command

        config = prepared(path)
        warn_about_bad_start_command(config["head_start_ray_commands"])

    def test_a_misspelt_key_would_be_refused(self, path, tmp_path):
        from jsonschema import ValidationError

        wrong = tmp_path / "wrong.yaml"
        wrong.write_text(path.read_text() + "\nidle_timeout: 5\n")
        with pytest.raises(ValidationError, match="idle_timeout"):
            prepared(wrong)

    def test_every_node_asks_for_the_token_and_the_dashboard_stays_at_home(self, path):
        config = prepared(path)
        for commands in STARTS:
            (start,) = [line for line in config[commands] if "ray start" in line]
            assert "RAY_AUTH_MODE=token" in start.split("ray start")[0]
        (head,) = [line for line in config["head_start_ray_commands"] if "ray start" in line]
        assert {"--dashboard-host=127.0.0.1", "--num-cpus=0"} <= set(head.split())
        assert any(remote.endswith("/.ray/auth_token") for remote in config["file_mounts"])
        assert any(re.fullmatch(r"chmod 600 \S+/\.ray/auth_token", line) for line in config["setup_commands"])

    def test_every_node_installs_this_checkout_with_the_tested_versions(self, path):
        config = prepared(path)
        assert "." in config["file_mounts"].values()
        (install,) = [line for line in config["setup_commands"] if "pip install" in line]
        assert '--constraint constraints.txt ".[cluster]"' in install
        for commands in ("head_setup_commands", "worker_setup_commands"):  # which begin with the setup commands
            assert sum("install" in line and "apt-get" not in line for line in config[commands]) == 1

    def test_the_shell_can_read_its_commands(self, path):
        config = prepared(path)
        for commands in ("setup_commands", *STARTS):
            for line in config[commands]:
                subprocess.run(["bash", "-n", "-c", line], check=True)


@pytest.mark.usefixtures("launcher")
def test_a_local_cluster_leaves_other_rays_on_its_machines_alone():
    config = prepared(LOCAL)
    lines = [line for commands in STARTS for line in config[commands]]
    assert not [line for line in lines if "ray stop" in line]
    (pattern,) = {match for line in lines for match in re.findall(r"pkill -f '(.*)'", line)}
    starts = [line for line in lines if "ray start" in line]
    assert all("--temp-dir=/tmp/resvae-ray" in line for line in starts)
    assert re.search(pattern, "raylet --session_dir=/tmp/resvae-ray/session_2026")
    assert not re.search(pattern, "raylet --session_dir=/tmp/ray/session_2026")
    assert not re.search(pattern, f"bash -c pkill -f '{pattern}'")


@pytest.fixture
def aws(launcher: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict]:
    """The result of `ray up` with cluster.yaml in an AWS account that holds only our roles."""
    import boto3
    from moto import mock_aws
    from ray.autoscaler._private.aws import config as ray_aws
    from ray.autoscaler._private.aws import utils

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    caches = (utils.resource_cache, utils.client_cache, ray_aws._get_subnets_or_die)
    with mock_aws():
        iam = boto3.client("iam")
        for name in profiles():
            iam.create_instance_profile(InstanceProfileName=name)
        yield ray_aws.bootstrap_aws(prepared(AWS))
    for cache in caches:
        cache.cache_clear()


def profiles() -> list[str]:
    """The names that scripts/aws-roles.yaml gives."""
    resources = roles_template()["Resources"].values()
    found = [it["Properties"] for it in resources if it["Type"] == "AWS::IAM::InstanceProfile"]
    return [properties["InstanceProfileName"] for properties in found]


def roles_template() -> dict:
    class Loader(yaml.SafeLoader):
        """Reads `!Ref X` as X."""

    Loader.add_multi_constructor("!", lambda loader, _, node: loader.construct_scalar(node))
    return yaml.load((ROOT / "scripts/aws-roles.yaml").read_text(), Loader)


class TestOnAWS:
    def test_nothing_is_open_to_the_world_but_ssh(self, aws):
        import boto3

        nodes = [kind["node_config"] for kind in aws["available_node_types"].values()]
        ids = {group for node in nodes for group in node["SecurityGroupIds"]}
        groups = boto3.client("ec2", "us-east-1").describe_security_groups(GroupIds=list(ids))["SecurityGroups"]
        assert [group["GroupName"] for group in groups] == [aws["provider"]["security_group"]["GroupName"]]
        for group in groups:
            to_all = [rule for rule in group["IpPermissions"] if rule["IpRanges"] or rule["Ipv6Ranges"]]
            assert [(rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) for rule in to_all] == [("tcp", 22, 22)]
            others = [rule for rule in group["IpPermissions"] if rule not in to_all]
            assert {pair["GroupId"] for rule in others for pair in rule["UserIdGroupPairs"]} == ids

    def test_workers_come_and_go_and_the_head_does_no_work(self, aws):
        head, worker = (aws["available_node_types"][kind] for kind in ("head", "worker"))
        assert (head["resources"]["CPU"], head["max_workers"], head["min_workers"]) == (0, 0, 0)
        assert (worker["min_workers"], worker["max_workers"]) == (0, aws["max_workers"])
        assert aws["metadata"]["fewest_workers"] == 0
        assert aws["max_workers"] == aws["metadata"]["most_workers"] > 0
        assert aws["idle_timeout_minutes"] <= 15
        assert not aws["provider"]["cache_stopped_nodes"]
        assert aws["head_start_ray_commands"][1].count("--num-cpus=0") == 1

    def test_the_machines_that_are_started(self, aws):
        """The stand-in refuses unknown and misspelt parameters of a machine."""
        head, worker = started(aws, "head"), started(aws, "worker")
        assert "InstanceLifecycle" not in head
        assert worker["InstanceLifecycle"] == "spot"
        for machine, name in ((head, "resvae-ray-head"), (worker, "resvae-ray-worker")):
            assert machine["IamInstanceProfile"]["Arn"].endswith(f"/{name}")
            assert machine["MetadataOptions"]["HttpTokens"] == "required"

    def test_a_misspelt_parameter_of_a_machine_would_be_refused(self, aws):
        from botocore.exceptions import ParamValidationError

        wrong = copy.deepcopy(aws)
        wrong["available_node_types"]["worker"]["node_config"]["InstanceMarketOption"] = {}
        with pytest.raises(ParamValidationError, match="InstanceMarketOption"):
            started(wrong, "worker")


def started(config: dict, kind: str) -> dict:
    """A machine of that kind, as AWS describes it after Ray has asked for it."""
    import boto3
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    node = copy.deepcopy(config["available_node_types"][kind]["node_config"])
    assert node["ImageId"].startswith("resolve:ssm:/aws/service/")  # which the stand-in does not know
    node["ImageId"] = boto3.client("ec2", "us-east-1").describe_images()["Images"][0]["ImageId"]
    (name,) = AWSNodeProvider(config["provider"], config["cluster_name"]).create_node(node, {}, 1)
    answer = boto3.client("ec2", "us-east-1").describe_instances(InstanceIds=[name])
    return answer["Reservations"][0]["Instances"][0]


def test_the_roles_are_those_that_the_machines_take_and_a_worker_only_stores():
    metadata = yaml.safe_load(AWS.read_text())["metadata"]
    assert profiles() == [metadata["head_role"]["Name"], metadata["worker_role"]["Name"]]
    allowed: dict[str, set[str]] = {"Head": set(), "Worker": set()}
    for resource in roles_template()["Resources"].values():
        if resource["Type"] != "AWS::IAM::ManagedPolicy":
            continue
        for statement in resource["Properties"]["PolicyDocument"]["Statement"]:
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            for name in resource["Properties"]["Roles"]:
                allowed[name].update(actions)
            if any(action.startswith("ec2:Terminate") for action in actions):
                assert statement["Condition"]["StringEquals"] == {"aws:ResourceTag/ray-cluster-name": "Cluster"}
    assert {action.partition(":")[0] for action in allowed["Worker"]} == {"s3"}
    assert {"ec2:RunInstances", "iam:PassRole", "ssm:GetParameters"} <= allowed["Head"]
    assert roles_template()["Parameters"]["Cluster"]["Default"] == yaml.safe_load(AWS.read_text())["cluster_name"]


class TestRayJob:
    """KubeRay's own schema is part of its operator; these are the fields of its reference for 1.5.1 that are used."""

    JOB = {"entrypoint", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "backoffLimit", "rayClusterSpec"}
    CLUSTER = {"rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec"}
    WORKERS = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}

    @pytest.fixture
    def job(self) -> dict:
        return yaml.safe_load(RAYJOB.read_text())

    def test_its_fields(self, job):
        assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
        spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
        assert set(spec) == self.JOB
        assert set(cluster) == {*self.CLUSTER, "workerGroupSpecs"}
        assert set(cluster["headGroupSpec"]) == {"serviceType", "rayStartParams", "template"}
        assert [set(group) for group in cluster["workerGroupSpecs"]] == [self.WORKERS]
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            assert all(isinstance(value, str) for value in group["rayStartParams"].values())
            assert len(group["template"]["spec"]["containers"]) == 1

    def test_one_image_with_the_tested_ray(self, job):
        cluster = job["spec"]["rayClusterSpec"]
        groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
        (image,) = {group["template"]["spec"]["containers"][0]["image"] for group in groups}
        recipe = (ROOT / "scripts/Dockerfile").read_text()
        assert image in recipe
        assert cluster["rayVersion"] == PINNED["ray"]
        assert f"FROM rayproject/ray:{PINNED['ray']}-py3" in recipe
        assert "--constraint constraints.txt" in recipe

    def test_a_linter_of_dockerfiles_has_no_complaint(self):
        program = Path(sysconfig.get_path("scripts"), "hadolint")
        if not program.is_file():
            pytest.skip("needs hadolint, of the extra `test`")
        done = subprocess.run([program, ROOT / "scripts/Dockerfile"], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "")

    def test_the_head_does_no_work_and_the_token_is_on(self, job):
        cluster = job["spec"]["rayClusterSpec"]
        (workers,) = cluster["workerGroupSpecs"]
        assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
        assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
        assert cluster["authOptions"] == {"mode": "token"}
        assert workers["minReplicas"] == 0 < workers["maxReplicas"]
        resources = workers["template"]["spec"]["containers"][0]["resources"]
        assert resources["limits"] == resources["requests"]
        assert resources["limits"]["nvidia.com/gpu"] == 1

    def test_its_command_line_can_be_read_and_says_what_a_trial_gets(self, job):
        from resvae_ray.cli import build_parser

        words = job["spec"]["entrypoint"].split()
        assert words[:3] == ["python", "-m", "resvae_ray"]
        assert build_parser().parse_args(words[3:]).verb
        assert {"--address", "--gpus-per-trial", "--cpus-per-trial", "--concurrent"} <= set(words)
