"""The chart is what a cluster takes, and what the processes and each other part of it need."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from tests.deploy.rendering import CHART, RELEASE, rendered
from tests.deploy.settings import check_environment

Objects = list[dict[str, Any]]

VARIANTS: dict[str, Mapping[str, Any]] = {
    "as shipped": {},
    "everything else": {
        "probesAreCommands": True,
        "arrays": {"claim": "arrays"},
        "scaleOnLag": {"enabled": True},
        "places": {"enabled": True},
        "redis": {"enabled": True},
        "services": {
            "events": {"settings": {"EVENTS_KEEPING_INTERVAL_S": 30}},
            "gateway": {"settings": {"GIRIH_OTLP_ENDPOINT": "http://collector:4317"}},
        },
        "networkPolicy": {"further": {"collector": {"cidr": "10.1.0.0/16", "port": 4317}}},
    },
    "as little as can be": {"networkPolicy": {"enabled": False}, "migrate": {"enabled": False}},
}


@pytest.fixture(params=list(VARIANTS.values()), ids=list(VARIANTS))
def objects(request: pytest.FixtureRequest) -> Objects:
    return rendered(request.param)


def of_kind(objects: Objects, kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in objects if one["kind"] == kind}


def pods(objects: Objects) -> Iterator[tuple[str, dict[str, Any]]]:
    for one in objects:
        if one["kind"] in ("Deployment", "Job"):
            yield one["metadata"]["name"], one["spec"]["template"]


def test_every_object_fits_the_schema_of_its_kind(objects: Objects) -> None:
    validate = pytest.importorskip(
        "kubernetes_validate", reason="pip install kubernetes-validate, and the schemas are checked"
    )

    for one in objects:
        validate.validate(one, "1.33", strict=True)


@pytest.fixture
def helm() -> str:
    executable = shutil.which("helm")
    if executable is None:
        pytest.skip("no helm on the PATH")
    return executable


@pytest.mark.parametrize("values", list(VARIANTS.values()), ids=list(VARIANTS))
def test_helm_renders_the_same(helm: str, values: Mapping[str, Any]) -> None:
    done = subprocess.run(
        [helm, "template", RELEASE, str(CHART), "--values", "-"],
        input=yaml.safe_dump(values),
        capture_output=True,
        text=True,
        check=True,
    )

    objects = [one for one in yaml.safe_load_all(done.stdout) if one]
    assert sorted(map(str, objects)) == sorted(map(str, rendered(values)))


def test_helm_has_nothing_against_the_chart(helm: str) -> None:
    done = subprocess.run(
        [helm, "lint", "--strict", str(CHART)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_no_pod_may_do_more_than_it_needs(objects: Objects) -> None:
    for name, template in pods(objects):
        spec = template["spec"]
        assert not spec["automountServiceAccountToken"], name
        assert spec["securityContext"]["runAsNonRoot"], name
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            allowed = container["securityContext"]
            assert allowed["readOnlyRootFilesystem"], name
            assert not allowed["allowPrivilegeEscalation"], name
            assert allowed["capabilities"]["drop"] == ["ALL"], name
            assert container["resources"]["limits"]["memory"], name
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted <= {volume["name"] for volume in spec["volumes"]}, name


def test_every_service_is_probed_spread_kept_and_scaled(objects: Objects) -> None:
    budgets, scalers = (
        of_kind(objects, kind) for kind in ("PodDisruptionBudget", "HorizontalPodAutoscaler")
    )
    for name, deployment in of_kind(objects, "Deployment").items():
        spec = deployment["spec"]["template"]["spec"]
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        (container,) = spec["containers"]
        assert {"startupProbe", "readinessProbe"} <= container.keys(), name
        keys = {spread["topologyKey"] for spread in spec["topologySpreadConstraints"]}
        assert keys == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}, name
        assert budgets[name]["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert scalers[name]["spec"]["scaleTargetRef"]["name"] == name
        assert scalers[name]["spec"]["minReplicas"] >= 2, "one alone is away at each disruption"


def test_every_selector_finds_pods(objects: Objects) -> None:
    labels = [template["metadata"]["labels"] for _, template in pods(objects)]

    for name, service in of_kind(objects, "Service").items():
        assert any(
            service["spec"]["selector"].items() <= pod_labels.items() for pod_labels in labels
        ), name
    for name, policy in of_kind(objects, "NetworkPolicy").items():
        wanted = policy["spec"]["podSelector"].get("matchLabels", {})
        assert any(wanted.items() <= pod_labels.items() for pod_labels in labels), name


def test_services_of_grpc_are_headless_and_their_ports_are_those_of_the_pods(
    objects: Objects,
) -> None:
    for name, service in of_kind(objects, "Service").items():
        container = of_kind(objects, "Deployment")[name]["spec"]["template"]["spec"]["containers"][
            0
        ]
        named = {port["name"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} == named
        assert (service["spec"].get("clusterIP") == "None") == (name != "girih-gateway")


@pytest.mark.parametrize("process", ["events", "lattice", "projections", "gateway"])
def test_a_process_starts_with_what_it_is_told(
    objects: Objects, process: str, authority: Any
) -> None:
    environ = of_kind(objects, "ConfigMap")[f"girih-{process}"]["data"]
    services = of_kind(objects, "Service")

    check_environment(process, environ, authority)

    for value in environ.values():
        if value.startswith("dns:///"):
            host, _, port = value.removeprefix("dns:///").partition(":")
            assert int(port) in [one["port"] for one in services[host]["spec"]["ports"]]


def test_a_process_is_told_what_the_values_say_beside() -> None:
    objects = rendered(VARIANTS["everything else"])
    data = {name: one["data"] for name, one in of_kind(objects, "ConfigMap").items()}

    assert data["girih-events"]["EVENTS_PLACES_FILE"] == "/run/secrets/places"
    assert data["girih-events"]["EVENTS_KEEPING_INTERVAL_S"] == "30"
    assert data["girih-gateway"]["GATEWAY_REDIS_URL_FILE"] == "/run/keys/redis_url"
    assert data["girih-gateway"]["GIRIH_OTLP_ENDPOINT"] == "http://collector:4317"


def test_every_file_that_a_pod_reads_is_in_its_secret(objects: Objects) -> None:
    data = {name: one["data"] for name, one in of_kind(objects, "ConfigMap").items()}
    for name, template in pods(objects):
        (container,) = template["spec"]["containers"]
        environ = {
            **data.get(name, {}),
            **{one["name"]: one["value"] for one in container.get("env", ())},
        }
        there = {
            item["path"]
            for volume in template["spec"]["volumes"]
            for item in volume.get("secret", {}).get("items", ())
        }
        for variable, value in environ.items():
            if value.startswith("/run/"):
                assert value.rpartition("/")[2] in there, f"{name}: {variable}"


def test_what_a_process_reads_is_mounted(objects: Objects) -> None:
    for name, deployment in of_kind(objects, "Deployment").items():
        spec = deployment["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        environ = of_kind(objects, "ConfigMap")[name]["data"]
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        for value in environ.values():
            if value.startswith(("/run/", "/var/")):
                assert any(value.startswith(mount) for mount in mounts), f"{name}: {value}"
