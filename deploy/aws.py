"""Completes ray-cluster.yaml for one's own AWS account: machine image, firewall, bucket.

Run: python deploy/aws.py ray-cluster.yaml .ray-cluster.aws.yaml    # `make cluster-up` does

What it makes is made once and found again: a security group named as in the file, which lets in ssh from this
machine's address and everything from the cluster's own machines, and a private bucket for the results.
Credentials are boto3's, from the environment or ~/.aws; none is written anywhere.
"""

from __future__ import annotations

import copy
import ipaddress
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

# AWS's own parameter: the latest Ubuntu image with NVIDIA's driver and container tools.
IMAGE_PARAMETER = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id"
OWN_ADDRESS_URL = "https://checkip.amazonaws.com"


def complete(config: dict[str, Any], image_id: str, group_id: str, storage: str) -> dict[str, Any]:
    """Fill in what differs between accounts and days.

    Args:
        config: The launch file.
        image_id: Machine image of every kind of node that names none.
        group_id: Security group of every kind of node that names none. With it Ray stays in that group's network: by
            name alone it would take any network of the account, and make a group there that is open to the world.
        storage: Address of the bucket's folder, left on the head for its jobs.
    """
    completed = copy.deepcopy(config)
    for kind in completed["available_node_types"].values():
        kind["node_config"].setdefault("ImageId", image_id)
        kind["node_config"].setdefault("SecurityGroupIds", [group_id])
    completed["head_setup_commands"] = [
        *completed.get("head_setup_commands", []),
        f"echo {storage} > ~/.ninthpower-storage",
    ]
    return completed


def find_image(ssm: Any) -> str:
    """The machine image of the day."""
    return str(ssm.get_parameter(Name=IMAGE_PARAMETER)["Parameter"]["Value"])


def open_firewall(ec2: Any, group_name: str, own_address: str) -> str:
    """Find or make the security group, and see to it that ssh is open to one's own address and to no one else.

    Returns:
        The group's id.

    Raises:
        ValueError: If the account has no default network, or the group lets in the world.
    """
    networks = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    if not networks:
        raise ValueError("this region has no default VPC; make one: aws ec2 create-default-vpc")
    network = networks[0]["VpcId"]
    filters = [{"Name": "group-name", "Values": [group_name]}, {"Name": "vpc-id", "Values": [network]}]
    groups = ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
    if groups:
        group_id, rules = groups[0]["GroupId"], groups[0]["IpPermissions"]
    else:
        description = "ninthpower: ssh from its owner, anything among its machines"
        made = ec2.create_security_group(GroupName=group_name, Description=description, VpcId=network)
        group_id, rules = made["GroupId"], []
    _refuse_open_rules(rules, group_name)
    missing = [rule for rule in wanted_rules(group_id, own_address) if not _has(rules, rule)]
    if missing:
        ec2.authorize_security_group_ingress(GroupId=group_id, IpPermissions=missing)
    return str(group_id)


def wanted_rules(group_id: str, own_address: str) -> list[dict[str, Any]]:
    """Everything among the group's machines; ssh from one address."""
    address = ipaddress.ip_address(own_address)
    ranges = (
        {"IpRanges": [{"CidrIp": f"{address}/32"}]}
        if address.version == 4
        else {"Ipv6Ranges": [{"CidrIpv6": f"{address}/128"}]}
    )
    return [
        {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group_id}]},
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, **ranges},
    ]


def make_bucket(s3: Any, name: str, region: str) -> str:
    """Find or make a bucket that the public cannot read, and return the address of the results in it."""
    known = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
    if name not in known:
        place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        s3.create_bucket(Bucket=name, **place)
        closed = dict.fromkeys(
            ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
        )
        s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=closed)
    return f"s3://{name}/ninthpower"


def _refuse_open_rules(rules: Sequence[dict[str, Any]], group_name: str) -> None:
    for rule in rules:
        sources = [entry.get("CidrIp") or entry.get("CidrIpv6") for entry in _ranges(rule)]
        if {"0.0.0.0/0", "::/0"} & set(sources):
            raise ValueError(f"the security group {group_name} lets in the world; delete that rule, or the group")


def _has(rules: Sequence[dict[str, Any]], wanted: dict[str, Any]) -> bool:
    keys = ("IpProtocol", "FromPort", "ToPort")
    return any(
        all(rule.get(key) == wanted.get(key) for key in keys)
        and all(any(_covers(one, source) for one in _sources(rule)) for source in _sources(wanted))
        for rule in rules
    )


def _covers(one: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(one.get(key) == value for key, value in wanted.items())


def _sources(rule: dict[str, Any]) -> list[dict[str, Any]]:
    return [*_ranges(rule), *rule.get("UserIdGroupPairs", [])]


def _ranges(rule: dict[str, Any]) -> list[dict[str, Any]]:
    return [*rule.get("IpRanges", []), *rule.get("Ipv6Ranges", [])]


def _own_address() -> str:
    with urllib.request.urlopen(OWN_ADDRESS_URL, timeout=10) as answer:
        return str(answer.read().decode().strip())


def main(arguments: Sequence[str]) -> None:
    """Complete one file into another."""
    import boto3

    source, target = map(Path, arguments)
    config = yaml.safe_load(source.read_text(encoding="utf-8"))
    region = config["provider"]["region"]
    session = boto3.Session(region_name=region)
    account = session.client("sts").get_caller_identity()["Account"]
    group_name = config["provider"]["security_group"]["GroupName"]
    group_id = open_firewall(session.client("ec2"), group_name, _own_address())
    storage = make_bucket(session.client("s3"), f"ninthpower-{account}-{region}", region)
    completed = complete(config, find_image(session.client("ssm")), group_id, storage)
    target.write_text(yaml.safe_dump(completed, sort_keys=False), encoding="utf-8")
    print(f"{target}: results go to {storage}")


if __name__ == "__main__":
    main(sys.argv[1:])
