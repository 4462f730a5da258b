"""deploy/kubernetes: read strictly by the schemas of Kubernetes, as a restricted namespace takes it, and by the broker's own check.

deploy/helm makes the same manifests, with Helm's own engine (tests/go/helm).
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from conftest import ADMIN_SECRET, REPOSITORY, broker_binary
from programs import go_program

DIRECTORY = REPOSITORY / "deploy/kubernetes"
# The oldest version that the page promises, and the newest one.
VERSIONS = ("1.30", "1.37")
Manifest = dict[str, Any]


def files() -> list[Path]:
    return sorted(path for path in DIRECTORY.glob("*.yaml") if path.name != "kustomization.yaml")


def manifests(kind: str | None = None) -> list[Manifest]:
    found = [manifest for file in files() for manifest in yaml.safe_load_all(file.read_text())]
    return [manifest for manifest in found if kind in (None, manifest["kind"])]


def only(kind: str) -> Manifest:
    [manifest] = manifests(kind)
    return manifest


def pods() -> dict[str, Manifest]:
    """The pods of each workload, by its name."""
    return {manifest["metadata"]["name"]: manifest["spec"]["template"] for kind in ("Job", "StatefulSet") for manifest in manifests(kind)}


def selects(labels: dict[str, str], selector: Manifest) -> bool:
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def volume_sources(pod: Manifest) -> list[Manifest]:
    volumes = pod["spec"].get("volumes", [])
    return volumes + [source for volume in volumes for source in volume.get("projected", {}).get("sources", [])]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("file", files(), ids=lambda file: file.name)
def test_manifest_has_the_members_that_kubernetes_knows_and_no_others(file: Path, version: str) -> None:
    for manifest in yaml.safe_load_all(file.read_text()):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_schemas_reject_unknown_and_wrong_members() -> None:
    """The test above can fail."""
    for change in ({"fsgroup": 1}, {"fsGroup": "65532"}):
        manifest = only("StatefulSet")
        manifest["spec"]["template"]["spec"]["securityContext"] |= change
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(manifest, VERSIONS[0], strict=True)


def test_kustomization_lists_every_file_and_image() -> None:
    kustomization = yaml.safe_load((DIRECTORY / "kustomization.yaml").read_text())
    assert sorted(kustomization["resources"]) == [file.name for file in files()]
    images = {container["image"] for pod in pods().values() for container in pod["spec"]["containers"]}
    assert images == {image["name"] for image in kustomization["images"]}
    assert all(image["newTag"] not in ("", "latest") for image in kustomization["images"])
    namespaced = [manifest for manifest in manifests() if not manifest["kind"].startswith(("ClusterRole", "Namespace"))]
    assert {manifest["metadata"]["namespace"] for manifest in namespaced} == {kustomization["namespace"]}
    assert only("Namespace")["metadata"]["name"] == kustomization["namespace"]


@pytest.mark.parametrize("name", pods())
def test_pod_is_within_the_restricted_standard(name: str) -> None:
    """Each control of the Pod Security Standard that the namespace enforces."""
    labels = only("Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    spec = pods()[name]["spec"]
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostAliases", "initContainers", "ephemeralContainers"} & spec.keys()
    security = spec["securityContext"]
    assert security["runAsNonRoot"] is True and security["runAsUser"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"sysctls", "seLinuxOptions", "windowsOptions", "appArmorProfile"} & security.keys()
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    assert all(volume.keys() - {"name"} <= allowed for volume in spec.get("volumes", []))
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert all("hostPort" not in port for port in container.get("ports", []))
        assert "memory" in container["resources"]["limits"]


def test_selectors_ports_and_accounts_name_what_exists() -> None:
    labels = {name: pod["metadata"]["labels"] for name, pod in pods().items()}
    broker = labels["agentwrit-broker"]
    workload = only("StatefulSet")["spec"]
    assert selects(broker, workload["selector"])
    [headless] = [service for service in manifests("Service") if service["spec"].get("clusterIP") == "None"]
    assert workload["serviceName"] == headless["metadata"]["name"]
    [container] = workload["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"https": int(only("ConfigMap")["data"]["AA_PORT"])}
    for service in manifests("Service"):
        assert selects(broker, {"matchLabels": service["spec"]["selector"]})
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports.keys()
    for constraint in workload["template"]["spec"]["topologySpreadConstraints"]:
        assert selects(broker, constraint["labelSelector"])
    budget = only("PodDisruptionBudget")["spec"]
    assert selects(broker, budget["selector"]) and budget["maxUnavailable"] < workload["replicas"]
    assert workload["template"]["spec"]["serviceAccountName"] == only("ServiceAccount")["metadata"]["name"]
    volumes = {volume["name"] for volume in workload["template"]["spec"]["volumes"]} | {"data"}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_network_policies_deny_by_default_and_spare_the_metadata_service() -> None:
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in manifests("NetworkPolicy")}
    assert policies.pop("default-deny") == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    reached: dict[str, set[int]] = {name: set() for name in pods()}
    for name, policy in policies.items():
        selected = [pod for pod, template in pods().items() if selects(template["metadata"]["labels"], policy["podSelector"])]
        assert selected, name
        for rule in policy.get("egress", []):
            ports = {port["port"] for port in rule["ports"]}
            for peer in rule["to"]:
                block = peer.get("ipBlock", {})
                everywhere = {"0.0.0.0/0": "169.254.0.0/16", "::/0": "fd00:ec2::254/128"}
                if block.get("cidr") in everywhere:
                    assert everywhere[block["cidr"]] in block["except"]
            for pod in selected:
                reached[pod] |= ports
        assert all(rule["from"] for rule in policy.get("ingress", []))
    assert reached == {"agentwrit-broker": {53, 443, 5432, 6443}, "agentwrit-schema": {53, 5432}}


def test_broker_may_review_tokens_and_list_pods_and_nothing_else() -> None:
    rules = only("ClusterRole")["rules"]
    granted = {(group, resource, verb) for rule in rules for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]}
    assert granted == {
        ("authentication.k8s.io", "tokenreviews", "create"), ("", "pods", "list"), ("", "pods", "watch"),
    }  # fmt: skip
    binding = only("ClusterRoleBinding")
    assert binding["roleRef"]["name"] == only("ClusterRole")["metadata"]["name"]
    account = only("ServiceAccount")["metadata"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}]
    # Only the broker has a token of the API server, in one place.
    projected = {name: [source for source in volume_sources(pod) if "serviceAccountToken" in source] for name, pod in pods().items()}
    assert [len(projected["agentwrit-broker"]), len(projected["agentwrit-schema"])] == [1, 0]
    assert not any(pod["spec"]["automountServiceAccountToken"] for pod in pods().values())


def test_secrets_are_named_and_never_contained() -> None:
    assert not manifests("Secret")
    named = {volume["secret"]["secretName"] for pod in pods().values() for volume in volume_sources(pod) if "secret" in volume}
    for pod in pods().values():
        for container in pod["spec"]["containers"]:
            named |= {entry["valueFrom"]["secretKeyRef"]["name"] for entry in container["env"] if "valueFrom" in entry}
    page = (REPOSITORY / "docs/operators/kubernetes.md").read_text()
    assert named == set(re.findall(r"create secret (?:generic|tls) (\S+)", page))
    # The broker rejects a key that others than its owner and group can read.
    modes = [volume["secret"]["defaultMode"] for pod in pods().values() for volume in volume_sources(pod) if "secret" in volume]
    assert modes and set(modes) == {0o440}
    assert pods()["agentwrit-broker"]["spec"]["securityContext"]["fsGroup"] == 65532


def check(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([broker_binary(), "check"], env=environment, capture_output=True, text=True, timeout=60)


def test_broker_accepts_the_settings(tmp_path: Path) -> None:
    """Every variable is one that the broker knows, with a value that it accepts."""
    settings = only("ConfigMap")["data"]
    page = (REPOSITORY / "docs/operators/configuration.md").read_text()
    assert not [name for name in settings if f"| `{name}` |" not in page]
    secrets = {"AA_ADMIN_SECRET": ADMIN_SECRET, "AA_DATABASE_URL": "postgres://agentwrit_broker:secret@db1/agentwrit?sslmode=verify-full"}
    checked = check({"HOME": str(tmp_path), **settings, **secrets})
    assert checked.returncode == 0, checked.stdout + checked.stderr
    for name, value in (("AA_KUBERNETES_API_URL", "http://kubernetes.default.svc"), ("AA_KUBERNETES_WATCH", "always")):
        assert name in settings
        checked = check({"HOME": str(tmp_path), **settings, **secrets, name: value})
        assert checked.returncode == 1 and name in checked.stdout + checked.stderr
    # What the container has for the settings is where they look.
    [container] = pods()["agentwrit-broker"]["spec"]["containers"]
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    for name in settings.keys() & {"AA_TLS_CERT", "AA_TLS_KEY", "AA_KEY_ENCRYPTION_KEY_PATH", "AA_STATE_PATH", "AA_KUBERNETES_TOKEN_PATH", "AA_KUBERNETES_CA_PATH"}:
        assert any(settings[name].startswith(f"{mount}/") for mount in mounts), name


def test_schema_job_and_probes_run_commands_that_exist() -> None:
    [job], [broker] = (pods()[name]["spec"]["containers"] for name in ("agentwrit-schema", "agentwrit-broker"))
    commands = [job["args"], *(broker[probe]["exec"]["command"][1:] for probe in ("startupProbe", "readinessProbe"))]
    for command in commands:
        helped = subprocess.run([broker_binary(), command[0], "--help"], capture_output=True, text=True, timeout=60)
        assert helped.returncode == 0, helped.stderr
        assert all(argument in helped.stdout for argument in command if argument.startswith("--"))
    assert broker["readinessProbe"]["exec"]["command"][0] == "/usr/local/bin/agentwrit-broker"
    # A liveness probe that fails with the database would restart every broker at once.
    assert "exec" not in broker["livenessProbe"] and "httpGet" not in broker["livenessProbe"]


# The Helm chart.

CHART = REPOSITORY / "deploy/helm"


def render(directory: Path, values: Manifest, namespace: str = "agentwrit") -> subprocess.CompletedProcess[str]:
    file = directory / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    command = [go_program("helm"), str(CHART), namespace, str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def rendered(directory: Path, values: Manifest, namespace: str = "agentwrit") -> list[Manifest]:
    made = render(directory, values, namespace)
    assert made.returncode == 0, made.stderr
    return [manifest for manifest in yaml.load_all(made.stdout, Loader=UniqueLoader) if manifest]


class UniqueLoader(yaml.SafeLoader):
    """Rejects a mapping with a key twice, of which Kubernetes would take one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep) for key, _ in node.value]
        assert len(keys) == len(set(keys)), keys
        return super().construct_mapping(node, deep)


def by_name(manifests: list[Manifest]) -> dict[tuple[str, str], Manifest]:
    return {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in manifests}


def test_chart_makes_the_same_manifests(tmp_path: Path) -> None:
    chart, base = by_name(rendered(tmp_path, {})), by_name(manifests())
    # The operator makes and labels it.
    del base["Namespace", "agentwrit"]
    # What only the chart has: the job is a hook, and brokers restart with new settings.
    hook = chart["Job", "agentwrit-schema"]["metadata"].pop("annotations")
    assert hook["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert list(chart["StatefulSet", "agentwrit-broker"]["spec"]["template"]["metadata"].pop("annotations")) == ["checksum/settings"]
    for manifest in chart.values():
        for container in manifest["spec"].get("template", {}).get("spec", {}).get("containers", []) if "spec" in manifest else []:
            assert container.pop("imagePullPolicy") == "IfNotPresent"
            assert container["image"] == "registry.example.com/agentwrit-broker:0.1.0"
            container["image"] = "agentwrit-broker"
    assert chart.keys() == base.keys()
    for name, manifest in chart.items():
        assert manifest == base[name], name


def test_values_of_chart_reach_the_manifests(tmp_path: Path) -> None:
    values = {
        "image": {"repository": "registry.internal/broker", "tag": "1.2.3", "pullSecrets": [{"name": "pull"}]},
        "replicas": 3, "trustDomain": "agents.acme.example", "issuer": "https://agents.acme.example",
        "externalUrls": ["https://broker.acme.example", "https://agentwrit-broker.tools.svc"],
        "settings": {"AA_SENDER_CONSTRAINED": "required", "AA_LOG_FORMAT": "text"},
        "secrets": {"broker": "own-secret"}, "kubernetes": {"watch": False, "clusterRole": "agentwrit-tools"},
        "database": {"networks": ["192.0.2.0/24", "2001:db8::/64"], "port": 6432},
        "storage": {"size": "1Gi", "className": "fast"},
    }  # fmt: skip
    made = rendered(tmp_path, values, "tools")
    for manifest in made:
        kubernetes_validate.validate(manifest, VERSIONS[0], strict=True)
        assert manifest["metadata"].get("namespace", "tools") == "tools"
    found = by_name(made)
    broker = found["StatefulSet", "agentwrit-broker"]["spec"]
    pod = broker["template"]["spec"]
    assert (broker["replicas"], pod["containers"][0]["image"], pod["imagePullSecrets"]) == (3, "registry.internal/broker:1.2.3", [{"name": "pull"}])
    claim = broker["volumeClaimTemplates"][0]["spec"]
    assert (claim["storageClassName"], claim["resources"]["requests"]["storage"]) == ("fast", "1Gi")
    settings = found["ConfigMap", "agentwrit-broker"]["data"]
    assert settings["AA_EXTERNAL_URL"] == "https://broker.acme.example,https://agentwrit-broker.tools.svc"
    assert (settings["AA_SENDER_CONSTRAINED"], settings["AA_LOG_FORMAT"], settings["AA_KUBERNETES_WATCH"]) == ("required", "text", "false")
    rules = found["ClusterRole", "agentwrit-tools"]["rules"]
    assert [rule["resources"] for rule in rules] == [["tokenreviews"]]
    [database] = [rule for rule in found["NetworkPolicy", "database-and-names"]["spec"]["egress"] if rule["ports"][0]["port"] == 6432]
    assert [peer["ipBlock"]["cidr"] for peer in database["to"]] == ["192.0.2.0/24", "2001:db8::/64"]
    without = rendered(tmp_path, {"networkPolicy": {"enabled": False}})
    assert not [manifest for manifest in without if manifest["kind"] == "NetworkPolicy"]


@pytest.mark.parametrize(
    "values",
    [
        {"replica": 3},
        {"replicas": 0},
        {"trustDomain": "Agents.example"},
        {"image": {"repository": "r", "tag": "latest"}},
        {"settings": {"AA_ADMIN_SECRET": "correct-horse-battery-staple"}},
        {"settings": {"AA_PORT": "80"}},
        {"settings": {"PATH": "/tmp"}},
        {"database": {"networks": ["db1"]}},
    ],
    ids=str,
)
def test_chart_rejects_values_that_its_schema_does_not_know(tmp_path: Path, values: Manifest) -> None:
    made = render(tmp_path, values)
    assert made.returncode == 1 and "schema" in made.stderr, made.stdout


def test_chart_names_the_release_that_it_is_of() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = re.search(r'^version = "(.*)"$', (REPOSITORY / "Cargo.toml").read_text(), re.M)[1]
    assert chart["appVersion"] == version
    # Every setting that the chart writes is one that its values may not write again.
    schema = json.loads((CHART / "values.schema.json").read_text())
    reserved = set(schema["properties"]["settings"]["propertyNames"]["not"]["enum"])
    assert reserved == {"AA_ADMIN_SECRET", "AA_DATABASE_URL"} | only("ConfigMap")["data"].keys() - {"AA_LOG_FORMAT"}
