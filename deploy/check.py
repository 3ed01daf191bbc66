#!/usr/bin/env python3
"""Checks every deployment file with what can be had, and says what was checked by what. `make compose-check` calls it.

Ends with 1 and a line for each finding. Needs deploy/requirements.txt; promtool (Debian package `prometheus`) for the rules.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import kubernetes_validate
import yaml
from compose_spec import PyCompose

sys.path.insert(0, str(Path(__file__).parent))
import kustomize  # noqa: E402

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
ROLES = {"gateway", "orchestrator", "executor", "traces", "scoring", "diagnosis"}
# Roles that run code which nobody trusts.
SANDBOXED = {"executor", "scoring", "diagnosis"}
PUBLISHED = {"gateway", "orchestrator", "grafana", "jaeger", "prometheus"}
KUBERNETES = "1.33"
# Metrics of queries that are not fapo's own: Prometheus makes them, or its client library.
COMMON = {"up", "process_start_time_seconds", "process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"}

findings = []


def find(text):
    findings.append(text)


def done(what, how):
    print(f"  {what}: {how}")


def run(*command):
    """A program's complaint; None where it has none."""
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if ran.returncode == 0 else (ran.stdout + ran.stderr).strip()


def compose():
    """The compose file: its syntax by compose-spec, then what fapo expects of it."""
    path = ROOT / "docker-compose.yml"
    text = path.read_text()
    whole = yaml.safe_load(text)
    # merge keys are YAML's, and are gone once it is read; names from the environment get their defaults
    plain = {key: value for key, value in whole.items() if not key.startswith("x-")}
    plain = json.loads(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", json.dumps(plain)))
    try:
        PyCompose.from_json(json.dumps(plain))
    except ValueError as error:
        find(f"docker-compose.yml: {error}")
    services = whole["services"]
    for missing in ROLES - set(services):
        find(f"docker-compose.yml: no service has the role {missing}")
    for name, service in services.items():
        where = f"docker-compose.yml: {name}"
        if name in ROLES and service["command"][-1] != name:
            find(f"{where} is not started with its role")
        if name in ROLES and service["build"]["target"] != ("fapo-agent" if name in SANDBOXED else "fapo"):
            find(f"{where} has another image than its role needs")
        if name in SANDBOXED and "systempaths=unconfined" not in service["security_opt"]:
            find(f"{where} cannot make namespaces for what it runs")
        if name in ROLES and "healthcheck" not in service:
            find(f"{where} has no health check")
        if "profiles" not in service and name != "bootstrap" and not service.get("deploy", {}).get("resources", {}).get("limits", {}).get("memory"):
            find(f"{where} has no bound on memory")
        for port in service.get("ports", []):
            if name not in PUBLISHED or not port.startswith("${FAPO_BIND:-127.0.0.1}:"):
                find(f"{where} publishes {port}: only {', '.join(sorted(PUBLISHED))} may, on FAPO_BIND")
        for secret in service.get("secrets", []):
            if secret not in whole["secrets"]:
                find(f"{where} uses a secret {secret} that is not there")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./") and not (ROOT / source).exists():
                find(f"{where} mounts {source}, which is not there")
            if not source.startswith((".", "/")) and source not in whole["volumes"]:
                find(f"{where} uses a volume {source} that is not there")
        for other in service.get("depends_on", {}):
            if other not in services:
                find(f"{where} depends on {other}, which is not there")
    secrets = (DEPLOY / "secrets.sh").read_text()
    for secret in whole["secrets"]:
        if not re.search(rf"^make {secret} ", secrets, re.M):
            find(f"deploy/secrets.sh does not make {secret}")
    done("docker-compose.yml", "compose-spec, and rules of our own")
    if shutil.which("docker") and run("docker", "compose", "version") is None:
        if complaint := run("docker", "compose", "-f", str(path), "config", "--quiet"):
            find(f"docker compose config: {complaint}")
        done("docker-compose.yml", "docker compose config")
    return set(services)


def dockerfile():
    hadolint = Path(sys.executable).parent / "hadolint"
    if complaint := run(str(hadolint), "--no-color", "-c", str(DEPLOY / "hadolint.yaml"), str(DEPLOY / "Dockerfile")):
        find(f"deploy/Dockerfile: {complaint}")
    pinned = re.search(r"^CLAUDE_CODE := (\S+)$", (ROOT / "Makefile").read_text(), re.M)
    if pinned[1] not in (DEPLOY / "Dockerfile").read_text():
        find(f"deploy/Dockerfile has another coding agent than the Makefile: {pinned[1]}")
    done("Dockerfile", "hadolint")
    for script in ("secrets.sh", "bootstrap.sh"):
        if complaint := run("sh", "-n", str(DEPLOY / script)):
            find(f"deploy/{script}: {complaint}")


def collector(services):
    """The collector has no checker outside of its own image: its parts are held against each other."""
    config = yaml.safe_load((DEPLOY / "otel-collector/config.yaml").read_text())
    where = "otel-collector/config.yaml"
    for name, pipeline in config["service"]["pipelines"].items():
        if name.split("/")[0] not in ("traces", "metrics", "logs"):
            find(f"{where}: {name} is no kind of pipeline")
        for part in ("receivers", "processors", "exporters"):
            for used in pipeline.get(part, []):
                if used not in config.get(part, {}):
                    find(f"{where}: {name} uses {part} {used}, which is not there")
        if pipeline["processors"][0] != "memory_limiter":
            find(f"{where}: {name} must begin with memory_limiter")
    used = {name for pipeline in config["service"]["pipelines"].values() for part in pipeline.values() for name in part}
    for part in ("receivers", "processors", "exporters"):
        for name in set(config[part]) - used:
            find(f"{where}: {part} {name} is in no pipeline")
    for name, exporter in config["exporters"].items():
        host = exporter.get("endpoint", "").split(":")[0]
        if host and host not in services:
            find(f"{where}: {name} sends to {host}, which is no service")
    done("otel-collector", "its parts against each other and the services")


def metrics():
    """The names in docs/telemetry.md."""
    text = (ROOT / "docs/telemetry.md").read_text()
    return set(re.findall(r"^\| `(fapo_\w+)` \|", text, re.M))


def check_query(query, known, where):
    # what stands before a brace, a bracket, a comparison or the end, and is not a function, a keyword or a label
    plain = re.sub(r'\{[^}]*\}|"[^"]*"|\[[^\]]*\]|\b(by|on|without|ignoring)\s*\([^)]*\)', " ", query)
    for name in re.findall(r"\b[a-zA-Z_:][\w:]*\b(?!\s*\()", plain):
        if name in ("unless", "and", "or", "on", "by", "offset"):
            continue
        base = re.sub(r"_(bucket|count|sum)$", "", name)
        if name not in known | COMMON and base not in known:
            find(f"{where}: no metric of docs/telemetry.md is {name}")


def prometheus(known, services):
    folder = DEPLOY / "prometheus"
    groups = yaml.safe_load((folder / "alerts.yml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    tested = (folder / "alerts_test.yml").read_text()
    for rule in rules:
        check_query(rule["expr"], known, f"alerts.yml: {rule['alert']}")
        if f"alertname: {rule['alert']}\n" not in tested:
            find(f"alerts_test.yml does not test {rule['alert']}")
    scrapes = yaml.safe_load((folder / "prometheus.yml").read_text())["scrape_configs"]
    scraped = {name for scrape in scrapes for found in scrape.get("dns_sd_configs", []) for name in found["names"]}
    if scraped != ROLES:
        find(f"prometheus.yml scrapes {sorted(scraped)}, not every role")
    for scrape in scrapes:
        for static in scrape.get("static_configs", []):
            for target in static["targets"]:
                if target.split(":")[0] not in services:
                    find(f"prometheus.yml: {target} is no service")
    adapter = yaml.safe_load((DEPLOY / "k8s/prometheus-adapter.yaml").read_text())["rules"]["external"]
    for rule in adapter:
        check_query(rule["metricsQuery"].replace("<<.LabelMatchers>>", ""), known, "prometheus-adapter.yaml")
    return [rule["as"] if "as" in rule else rule["name"]["as"] for rule in adapter]


def dashboards(known):
    if complaint := run(sys.executable, str(DEPLOY / "grafana/dashboards.py"), "--check"):
        find(complaint)
    sources = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/datasources.yaml").read_text())["datasources"]
    sources = {source["uid"] for source in sources}
    queries = []
    shown = ""
    for path in sorted((DEPLOY / "grafana/dashboards").glob("*.json")):
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            if panel["type"] != "row" and panel["datasource"]["uid"] not in sources:
                find(f"{path.name}: {panel['title']} asks a source that is not provisioned")
            for target in panel.get("targets", []):
                check_query(target["expr"], known, f"{path.name}: {panel['title']}")
                queries.append(target["expr"])
                shown += target["expr"] + "\n"
    for name in known:
        if not re.search(rf"\b{name}(_bucket|_count|_sum)?\b", shown):
            find(f"no dashboard shows {name}")
    done("grafana", "drift, and every query against docs/telemetry.md")
    return queries


def promtool(queries):
    if not shutil.which("promtool"):
        print("  promtool is not here (Debian package `prometheus`): rules, their tests and the queries' syntax were NOT checked")
        return
    folder = DEPLOY / "prometheus"
    commands = [("check", "config", "prometheus.yml"), ("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")]
    for command in commands:
        ran = subprocess.run(["promtool", *command], cwd=folder, capture_output=True, text=True, check=False)
        if ran.returncode:
            find(f"promtool {' '.join(command)}: {(ran.stdout + ran.stderr).strip()}")
    rules = [{"record": f"query:{place}", "expr": re.sub(r"\$__\w+", "5m", query)} for place, query in enumerate(queries)]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}, file)
        file.flush()
        if complaint := run("promtool", "check", "rules", file.name):
            find(f"a dashboard's query: {complaint}")
    done("prometheus", f"promtool: config, rules, tests of all alerts, {len(queries)} queries of dashboards")


def kubernetes(external):
    if (DEPLOY / "k8s/base/fapo.toml").read_text() != (DEPLOY / "config/cluster.toml").read_text():
        find("deploy/k8s/base/fapo.toml is not the same as deploy/config/cluster.toml")
    for folder in ("base", "overlays/example"):
        try:
            documents = kustomize.render(DEPLOY / "k8s" / folder)
        except kustomize.Broken as error:
            find(f"kustomize: {error}")
            continue
        for document in documents:
            name = f"{folder}: {document['kind']} {document['metadata']['name']}"
            try:
                kubernetes_validate.validate(document, KUBERNETES, strict=True)
            except kubernetes_validate.ValidationError as error:
                find(f"{name}: {error.message} at {'.'.join(map(str, error.path))}")
        cross(folder, documents, external)
    done("k8s", f"rendered by deploy/kustomize.py, then the API's schemas of {KUBERNETES}, strictly, and references")


def cross(folder, documents, external):
    """What documents name in each other."""
    def named(kind):
        return {document["metadata"]["name"]: document for document in documents if document["kind"] == kind}

    pods = [document["spec"]["template"]["metadata"]["labels"] for document in documents
            if document["kind"] in ("Deployment", "StatefulSet", "Job")]

    def selects(labels, what):
        if not any(labels.items() <= pod.items() for pod in pods):
            find(f"{folder}: {what} selects no pod")

    for name, service in named("Service").items():
        selects(service["spec"]["selector"], f"service {name}")
    for name, budget in named("PodDisruptionBudget").items():
        selects(budget["spec"]["selector"]["matchLabels"], f"disruption budget {name}")
    for name, scaler in named("HorizontalPodAutoscaler").items():
        if scaler["spec"]["scaleTargetRef"]["name"] not in named("Deployment"):
            find(f"{folder}: autoscaler {name} scales nothing")
        for metric in scaler["spec"]["metrics"]:
            if metric["external"]["metric"]["name"] not in external:
                find(f"{folder}: autoscaler {name} asks for a metric that prometheus-adapter.yaml does not give")
    for name, ingress in named("Ingress").items():
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                if path["backend"]["service"]["name"] not in named("Service"):
                    find(f"{folder}: ingress {name} leads to no service")
    for missing in ROLES - set(named("Deployment")):
        find(f"{folder}: no Deployment for {missing}")
    whole = folder != "base"
    for document in documents:
        for pod in kustomize.pod_specs(document):
            security = pod["securityContext"]
            if not security.get("runAsNonRoot"):
                find(f"{folder}: {document['metadata']['name']} may run as root")
            for volume in pod.get("volumes", []):
                secret, config = volume.get("secret"), volume.get("configMap")
                if config and config["name"] not in named("ConfigMap"):
                    find(f"{folder}: {document['metadata']['name']} mounts a ConfigMap that is not there")
                if whole and secret and secret["secretName"] not in named("Secret"):
                    find(f"{folder}: {document['metadata']['name']} mounts a secret that is not there")


def configuration():
    binary = os.environ.get("FAPO") or ROOT / "target/debug/fapo"
    if not Path(binary).is_file():
        print("  cluster.toml was NOT checked: there is no built fapo (set FAPO, or `cargo build -p fapo`)")
        return
    with tempfile.TemporaryDirectory() as folder:
        environment = {"PATH": os.environ["PATH"], "HOME": folder}
        # secrets are files of the engine; here they stand in the environment
        environment |= {
            "FAPO__STORE__URL": "postgres://fapo:x@postgres:5432/fapo", "FAPO__STORE__URL_FILE": "",
            "FAPO__QUEUE__URL": "redis://:x@redis:6379/0", "FAPO__QUEUE__URL_FILE": "",
            "FAPO__SERVICES__TOKEN": "x", "FAPO__SERVICES__TOKEN_FILE": "",
        }
        for role in sorted(ROLES):
            command = [str(binary), "config", "check", "--config", str(DEPLOY / "config/cluster.toml"), "--set", f"node.roles={role}"]
            ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if ran.returncode:
                find(f"fapo config check for {role}: {(ran.stdout + ran.stderr).strip()}")
    done("cluster.toml", "fapo config check, for each role")


def main():
    services = compose()
    dockerfile()
    collector(services)
    known = metrics()
    external = prometheus(known, services)
    promtool(dashboards(known))
    kubernetes(external)
    configuration()
    for finding in findings:
        print(f"error: {finding}", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
