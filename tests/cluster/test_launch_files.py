"""The launch files for AWS, Google Cloud and Kubernetes, as far as they can be tried without an account."""

import copy
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from cluster.growth import VARIABLE, NodeKind, kinds_to_come

ROOT = Path(__file__).parents[2]
AWS, GCP, KUBERAY = (
    ROOT / name for name in ("ray-cluster.yaml", "deploy/gcp-cluster.yaml", "deploy/kuberay-rayjob.yaml")
)
COMPOSE = ROOT / "deploy" / "mlflow-compose.yaml"
LAUNCHERS = pytest.mark.parametrize("path", [AWS, GCP], ids=["aws", "gcp"])


def load(path):
    """The file as Ray reads it."""
    return yaml.safe_load(path.read_text())


def as_ray_prepares_it(path):
    """What `ray up` makes of the file before it talks to a cloud, checked by Ray's schema."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(load(path))
    validate_config(config)
    return config


def commands(config):
    """Every command that any machine runs."""
    keys = [key for key in config if key.endswith("_commands")]
    return [command for key in keys for command in config[key]]


@LAUNCHERS
def test_ray_accepts_the_file(path):
    """By its own schema; workers start from none, go when idle, and a head runs no trial."""
    config = as_ray_prepares_it(path)
    workers = {name: kind for name, kind in config["available_node_types"].items() if name != "head"}

    assert config["head_node_type"] == "head"
    assert config["available_node_types"]["head"]["resources"]["CPU"] == 0
    assert {kind["min_workers"] for kind in workers.values()} == {0}
    assert all(0 < kind["max_workers"] <= config["max_workers"] for kind in workers.values())
    assert 0 < config["idle_timeout_minutes"] <= 10


@LAUNCHERS
def test_ray_would_refuse_a_misspelt_key(path):
    """So that the test above can fail."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    wrong = prepare_config({**load(path), "idle_timeout_minuts": 5})
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout_minuts"):
        validate_config(wrong)


@LAUNCHERS
def test_nothing_listens_beyond_the_machine_without_a_token(path):
    """Ray starts in token mode on every machine; dashboard, job server and MLflow are on loopback."""
    config = as_ray_prepares_it(path)
    starts = [command for command in commands(config) if re.search(r"ray start|cluster\.spot", command)]

    assert len(starts) >= 3
    assert all("RAY_AUTH_MODE=token" in command for command in starts)
    assert not any("0.0.0.0" in command for command in commands(config))
    assert any("--dashboard-host=127.0.0.1" in command for command in starts)
    (mlflow,) = [command for command in commands(config) if "mlflow server" in command]
    assert "--host 127.0.0.1" in mlflow
    assert config["file_mounts"]["/home/ray/.ray/auth_token"].endswith("/.ray/auth_token")


@LAUNCHERS
def test_machines_run_the_pinned_versions(path):
    """The image's Ray is that of constraints.txt, and everything else is installed by it."""
    (pinned,) = re.findall(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    config = load(path)

    assert config["docker"]["image"].startswith(f"rayproject/ray:{pinned}-py311")
    assert any("--constraint" in command and "[all]" in command for command in config["setup_commands"])


@LAUNCHERS
def test_every_command_is_one_that_a_shell_can_read(path):
    """bash -n reads without running."""
    for command in commands(load(path)):
        done = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"


def test_aws_workers_are_spot_and_their_disks_closed():
    """Encrypted disks, metadata behind a token, and a security group that is not Ray's own."""
    config = load(AWS)

    assert config["available_node_types"]["gpu_spot"]["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    for kind in config["available_node_types"].values():
        assert kind["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
        assert all(disk["Ebs"]["Encrypted"] for disk in kind["node_config"]["BlockDeviceMappings"])
    assert config["provider"]["security_group"] == {"GroupName": "ninthpower"}


def test_gpu_workers_have_a_driver_for_the_pinned_torch_and_the_project_is_named_once():
    """The builds of torch that constraints.txt pins are for CUDA 13, which needs driver 580."""
    text = GCP.read_text()
    kinds = load(GCP)["available_node_types"]
    images = {kind["node_config"]["disks"][0]["initializeParams"]["sourceImage"] for kind in kinds.values()}

    assert all(int(re.search(r"nvidia-(\d+)$", image)[1]) >= 580 for image in images)
    assert text.count("your-project") == 1
    assert kinds["gpu_spot"]["node_config"]["scheduling"]["provisioningModel"] == "SPOT"


@LAUNCHERS
def test_the_driver_sees_what_the_cluster_may_grow_to(path, tmp_path):
    """From the file that Ray leaves on the head: trials wait for a GPU that is not there yet."""
    config = as_ray_prepares_it(path)
    # AWS fills in the cores of an instance type when it is asked; here nobody asks.
    config["available_node_types"]["gpu_spot"]["resources"] = {"CPU": 4, "GPU": 1}
    (tmp_path / "ray_bootstrap_config.yaml").write_text(yaml.safe_dump(config))

    assert kinds_to_come({}, tmp_path) == (NodeKind("gpu_spot", {"CPU": 4.0, "GPU": 1.0}, 8),)


def test_growth_by_variable_and_without_any():
    """Kubernetes says it in a variable; a cluster of fixed size says nothing; nonsense is refused."""
    (kind,) = kinds_to_come({VARIABLE: '[{"name": "gpu", "resources": {"GPU": 2}, "most": 3}]'})

    assert kind == NodeKind("gpu", {"GPU": 2.0}, 3)
    with pytest.raises(ValueError, match=r"NINTHPOWER_GROWTH is '8'; it is a list"):
        kinds_to_come({VARIABLE: "8"})


def test_no_growth_is_known_where_nothing_says_so(tmp_path):
    """A cluster of fixed size."""
    assert kinds_to_come({}, tmp_path) == ()


# What the manifest uses of KubeRay's definition of a RayJob (1.5), typed from the definition: the whole is 1.4 MB.
TEXT, NUMBER, FLAG = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}


def only(required=(), **properties):
    """A mapping with these keys and no others."""
    return {
        "type": "object", "properties": properties, "required": list(required), "additionalProperties": False,
    }  # fmt: skip


def mapping_to(values):
    """A mapping with any keys."""
    return {"type": "object", "additionalProperties": values}


def list_of(items):
    """A list."""
    return {"type": "array", "items": items}


QUANTITY = {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^[0-9.]+([kMGTP]i?|m)?$"}]}
CONTAINER = only(
    ("name",),
    name=TEXT,
    image=TEXT,
    env=list_of(only(("name",), name=TEXT, value=TEXT)),
    ports=list_of(only(("containerPort",), containerPort=NUMBER, name=TEXT)),
    resources=only(requests=mapping_to(QUANTITY), limits=mapping_to(QUANTITY)),
    securityContext=only(allowPrivilegeEscalation=FLAG, runAsNonRoot=FLAG, runAsUser=NUMBER),
    volumeMounts=list_of(only(("name", "mountPath"), name=TEXT, mountPath=TEXT, readOnly=FLAG)),
)
POD = only(
    ("spec",),
    spec=only(
        ("containers",),
        containers=list_of(CONTAINER),
        volumes=list_of(only(("name",), name=TEXT, configMap=only(name=TEXT))),
        nodeSelector=mapping_to(TEXT),
        terminationGracePeriodSeconds=NUMBER,
        tolerations=list_of(only(key=TEXT, operator=TEXT, effect=TEXT)),
    ),
)
WORKERS = only(
    ("groupName", "maxReplicas", "minReplicas", "template"),
    groupName=TEXT,
    replicas=NUMBER,
    minReplicas=NUMBER,
    maxReplicas=NUMBER,
    rayStartParams=mapping_to(TEXT),
    template=POD,
)
RAY_CLUSTER = only(
    ("headGroupSpec",),
    rayVersion=TEXT,
    authOptions=only(mode={"enum": ["disabled", "token"]}),
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=only(
        idleTimeoutSeconds=NUMBER, upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]}
    ),
    headGroupSpec=only(("template",), serviceType=TEXT, rayStartParams=mapping_to(TEXT), template=POD),
    workerGroupSpecs=list_of(WORKERS),
)
RAY_JOB = only(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=only(("name",), name=TEXT),
    spec=only(
        entrypoint=TEXT,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        backoffLimit=NUMBER,
        shutdownAfterJobFinishes=FLAG,
        ttlSecondsAfterFinished=NUMBER,
        rayClusterSpec=RAY_CLUSTER,
    ),
)


def test_the_kubernetes_manifest_has_the_form_of_a_ray_job():
    """Its keys and types are KubeRay's."""
    jsonschema.validate(load(KUBERAY), RAY_JOB)


@pytest.mark.parametrize("place", ["spec", "spec/rayClusterSpec", "spec/rayClusterSpec/workerGroupSpecs/0"])
def test_the_form_refuses_what_is_misspelt(place):
    """So that the test above can fail."""
    wrong = copy.deepcopy(load(KUBERAY))
    inner = wrong
    for step in place.split("/"):
        inner = inner[int(step)] if isinstance(inner, list) else inner[step]
    inner["maxReplica"] = 3

    with pytest.raises(jsonschema.ValidationError, match="maxReplica"):
        jsonschema.validate(wrong, RAY_JOB)


def test_the_kubernetes_cluster_is_closed_and_says_how_far_it_grows():
    """A token, no service to the outside, no root; the head's variable names the workers of the manifest."""
    cluster = load(KUBERAY)["spec"]["rayClusterSpec"]
    (workers,) = cluster["workerGroupSpecs"]
    (head,) = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    (worker,) = workers["template"]["spec"]["containers"]
    (kind,) = kinds_to_come({entry["name"]: entry["value"] for entry in head["env"]})

    assert cluster["authOptions"]["mode"] == "token"
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert all(container["securityContext"]["runAsNonRoot"] for container in (head, worker))
    assert (kind.name, kind.most) == (workers["groupName"], workers["maxReplicas"])
    assert kind.resources["GPU"] == float(worker["resources"]["limits"]["nvidia.com/gpu"])
    assert kind.resources["CPU"] == float(worker["resources"]["requests"]["cpu"])


@pytest.fixture
def aws():
    """The script that completes the AWS file."""
    spec = importlib.util.spec_from_file_location("deploy_aws", ROOT / "deploy" / "aws.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Ec2:
    """As much of EC2 as the script asks for."""

    def __init__(self):
        self.groups = []

    def describe_vpcs(self, Filters):
        assert Filters == [{"Name": "is-default", "Values": ["true"]}]
        return {"Vpcs": [{"VpcId": "vpc-1"}]}

    def describe_security_groups(self, Filters):
        (name,) = Filters[0]["Values"]
        return {"SecurityGroups": [group for group in self.groups if group["GroupName"] == name]}

    def create_security_group(self, GroupName, Description, VpcId):
        assert Description
        group = {"GroupName": GroupName, "VpcId": VpcId, "GroupId": "sg-1", "IpPermissions": []}
        self.groups.append(group)
        return {"GroupId": "sg-1"}

    def authorize_security_group_ingress(self, GroupId, IpPermissions):
        (group,) = [group for group in self.groups if group["GroupId"] == GroupId]
        group["IpPermissions"] += copy.deepcopy(IpPermissions)


def test_the_firewall_lets_in_its_owner_and_nobody_else(aws):
    """Made once, found again, and another address of the owner's is added."""
    ec2 = Ec2()
    assert [aws.open_firewall(ec2, "ninthpower", address) for address in ("198.51.100.7",) * 2] == ["sg-1"] * 2
    (group,) = ec2.groups

    assert len(group["IpPermissions"]) == 2
    aws.open_firewall(ec2, "ninthpower", "203.0.113.9")
    ranges = [entry["CidrIp"] for rule in group["IpPermissions"] for entry in rule.get("IpRanges", [])]
    assert ranges == ["198.51.100.7/32", "203.0.113.9/32"]


def test_a_firewall_that_is_open_to_the_world_is_refused(aws):
    """As one that Ray made would be."""
    ec2 = Ec2()
    aws.open_firewall(ec2, "ninthpower", "198.51.100.7")
    ec2.groups[0]["IpPermissions"].append(
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    )
    with pytest.raises(ValueError, match="lets in the world"):
        aws.open_firewall(ec2, "ninthpower", "198.51.100.7")


def test_the_completed_file_is_still_rays(aws, tmp_path):
    """Image, security group and bucket are filled in; where the file names an image, that one stays."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = load(AWS)
    config["available_node_types"]["head"]["node_config"]["ImageId"] = "ami-mine"
    completed = aws.complete(config, "ami-today", "sg-1", "s3://ninthpower-1-us-west-2/ninthpower")
    path = tmp_path / "completed.yaml"
    path.write_text(yaml.safe_dump(completed, sort_keys=False))
    again = yaml.safe_load(path.read_text())
    validate_config(prepare_config(again))

    images = {name: kind["node_config"]["ImageId"] for name, kind in again["available_node_types"].items()}
    assert images == {"head": "ami-mine", "gpu_spot": "ami-today"}
    # By its id, so that Ray looks for no network of its own, and makes no group there.
    assert all(kind["node_config"]["SecurityGroupIds"] == ["sg-1"] for kind in again["available_node_types"].values())
    assert again["head_setup_commands"][-1] == "echo s3://ninthpower-1-us-west-2/ninthpower > ~/.ninthpower-storage"


def validate_compose(path):
    """What the schema of compose files says of one."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_compose_file_of_mlflow_agrees_with_its_schema(tmp_path):
    """By the schema that ships with check-jsonschema, which would refuse a misspelt key."""
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed: pip install '.[dev]'")
    done = validate_compose(COMPOSE)
    assert done.returncode == 0, done.stdout
    misspelt = tmp_path / "compose.yaml"
    misspelt.write_text(COMPOSE.read_text().replace("depends_on:", "depend_on:"))
    assert validate_compose(misspelt).returncode == 1


def test_the_compose_file_opens_loopback_alone_and_holds_no_password():
    """Passwords are files outside of version control, and no argument of a process."""
    services = load(COMPOSE)["services"]
    assert [port for service in services.values() for port in service.get("ports", [])] == ["127.0.0.1:5000:5000"]
    for name, secret in load(COMPOSE)["secrets"].items():
        assert secret == {"file": f"./{name}-password"}
        done = subprocess.run(["git", "check-ignore", f"deploy/{name}-password"], cwd=ROOT, check=False)
        assert done.returncode == 0
    (_, _, script) = services["mlflow"]["command"]
    server = script[script.index("exec mlflow server") :]
    assert "/run/secrets" not in server
    assert "--app-name basic-auth" in server
    assert re.search(r"--allowed-hosts localhost:5000,127.0.0.1:5000$", server.strip())


def test_the_bucket_is_private(aws):
    """Made where the cluster is, closed to the public, and found again."""
    calls = []

    class S3:
        def __init__(self):
            self.buckets = []

        def list_buckets(self):
            return {"Buckets": [{"Name": name} for name in self.buckets]}

        def create_bucket(self, **options):
            self.buckets.append(options["Bucket"])
            calls.append(options)

        def put_public_access_block(self, **options):
            calls.append(options)

    s3 = S3()
    for _ in range(2):
        assert aws.make_bucket(s3, "ninthpower-1", "eu-west-1") == "s3://ninthpower-1/ninthpower"
    assert len(calls) == 2
    assert calls[0]["CreateBucketConfiguration"] == {"LocationConstraint": "eu-west-1"}
    assert set(calls[1]["PublicAccessBlockConfiguration"].values()) == {True}


def test_the_parts_named_in_the_files_exist():
    """The spot watcher and the script are where the files say."""
    assert (ROOT / "cluster" / "spot.py").is_file()
    done = subprocess.run(
        [sys.executable, "-m", "cluster.spot", "nowhere"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "give one of aws, gcp" in done.stderr
    assert json.dumps(load(KUBERAY)).count("ninthpower sweep") == 1
