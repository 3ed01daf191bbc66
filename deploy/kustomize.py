"""Renders the kustomizations of deploy/k8s, as far as they go: resources, a generated ConfigMap, labels, patches by name or by a
target's labels, images, namespace. It is here because kustomize itself cannot be had everywhere; a kustomization that uses
anything else is refused, not passed over.
"""

import copy
import hashlib
from pathlib import Path

import yaml

KNOWN = {"apiVersion", "kind", "namespace", "resources", "configMapGenerator", "labels", "patches", "images"}
# By what the items of a list are told apart when one is merged into another.
MERGE_KEYS = {
    "containers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "topologySpreadConstraints": "topologyKey",
}


class Broken(Exception):
    """A kustomization that cannot be rendered."""


def load(path):
    if not path.is_file():
        raise Broken(f"{path} is named and is not there")
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def merge(base, patch, name=""):
    """Strategic merge: maps by key, lists of named things by name, everything else replaced; null removes."""
    if isinstance(base, dict) and isinstance(patch, dict):
        merged = dict(base)
        for key, value in patch.items():
            if value is None:
                merged.pop(key, None)
            else:
                merged[key] = merge(merged[key], value, key) if key in merged else value
        return merged
    key = MERGE_KEYS.get(name)
    if isinstance(base, list) and isinstance(patch, list) and key and all(key in item for item in base + patch):
        merged = {item[key]: item for item in base}
        for item in patch:
            merged[item[key]] = merge(merged[item[key]], item) if item[key] in merged else item
        return list(merged.values())
    return patch


def matches(document, target):
    if target.get("kind", document["kind"]) != document["kind"]:
        return False
    labels = document["metadata"].get("labels", {})
    for term in filter(None, target.get("labelSelector", "").split(",")):
        key, _, value = term.partition("=")
        if key not in labels or (value and labels[key] != value):
            return False
    return True


def pod_specs(document):
    """The specs of the pods that a document makes."""
    spec = document.get("spec", {})
    if document["kind"] in ("Deployment", "StatefulSet", "Job"):
        yield spec["template"]["spec"]


def patched(documents, entry, folder):
    patch, = load(folder / entry["path"])
    target = entry.get("target")
    hits = 0
    for place, document in enumerate(documents):
        same = (document["kind"], document["metadata"]["name"]) == (patch["kind"], patch["metadata"]["name"])
        if matches(document, target) if target else same:
            hits += 1
            name = document["metadata"]["name"]
            documents[place] = merge(document, patch)
            documents[place]["metadata"]["name"] = name
    if not hits:
        raise Broken(f"{folder / entry['path']} patches nothing")


def image(name, images):
    at, _, tag = name.rpartition(":") if ":" in name.rsplit("/", 1)[-1] else (name, "", "")
    for entry in images:
        if entry["name"] == at:
            return f"{entry.get('newName', at)}:{entry.get('newTag', tag)}"
    return name


def render(folder):
    """All documents of a kustomization, ready to be applied."""
    folder = Path(folder)
    spec, = load(folder / "kustomization.yaml")
    if unknown := set(spec) - KNOWN:
        raise Broken(f"{folder}: {', '.join(sorted(unknown))} is not understood here")
    documents = []
    for resource in spec.get("resources", []):
        path = folder / resource
        documents += render(path) if path.is_dir() else load(path)
    documents = copy.deepcopy(documents)
    generated = {}
    for entry in spec.get("configMapGenerator", []):
        data = {}
        for file in entry["files"]:
            if not (folder / file).is_file():
                raise Broken(f"{folder / file} is named and is not there")
            data[Path(file).name] = (folder / file).read_text()
        digest = hashlib.sha256(repr(sorted(data.items())).encode()).hexdigest()[:10]
        generated[entry["name"]] = f"{entry['name']}-{digest}"
        documents.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generated[entry["name"]]}, "data": data})
    for entry in spec.get("patches", []):
        patched(documents, entry, folder)
    for document in documents:
        for entry in spec.get("labels", []):
            document["metadata"].setdefault("labels", {}).update(entry["pairs"])
            if entry.get("includeTemplates"):
                for _ in pod_specs(document):
                    template = document["spec"]["template"].setdefault("metadata", {})
                    template.setdefault("labels", {}).update(entry["pairs"])
        if "namespace" in spec and document["kind"] != "Namespace":
            document["metadata"]["namespace"] = spec["namespace"]
        for pod in pod_specs(document):
            for container in pod["containers"]:
                container["image"] = image(container["image"], spec.get("images", []))
            for volume in pod.get("volumes", []):
                name = volume.get("configMap", {}).get("name")
                if name in generated:
                    volume["configMap"]["name"] = generated[name]
    return documents
