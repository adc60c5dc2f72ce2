#!/usr/bin/env python3
"""Reads manifests as Kubernetes' own models: each field must be one that its model has, with a value of its type.

    check.py BUILD FILE...      the programs in BUILD must know the options that the manifests give them
"""
import re
import subprocess
import sys

import yaml
from kubernetes import client

KINDS = {"v1/Namespace": "V1Namespace", "v1/Pod": "V1Pod", "v1/ConfigMap": "V1ConfigMap", "apps/v1/DaemonSet": "V1DaemonSet"}
SCALARS = {"str": str, "int": int, "bool": bool, "float": (int, float)}


class Wrong(Exception):
    pass


def check(value, kind, where):
    if value is None:
        raise Wrong(f"{where} is empty")
    if kind.startswith("list["):
        if not isinstance(value, list):
            raise Wrong(f"{where} is no list")
        for i, item in enumerate(value):
            check(item, kind[5:-1], f"{where}[{i}]")
    elif kind.startswith("dict("):
        of = kind[5:-1].split(", ")[1]
        if not isinstance(value, dict):
            raise Wrong(f"{where} is no map")
        for key, item in value.items():
            check(item, of, f"{where}.{key}")
    elif kind in SCALARS:
        if not isinstance(value, SCALARS[kind]) or (isinstance(value, bool) and kind != "bool"):
            raise Wrong(f"{where} is {value!r}, and has to be of type {kind}")
    elif kind not in ("object", "datetime"):
        check_model(value, getattr(client, kind), where)


def check_model(value, model, where):
    if not isinstance(value, dict):
        raise Wrong(f"{where} is no {model.__name__}")
    names = {outside: inside for inside, outside in model.attribute_map.items()}
    for key, item in value.items():
        if key not in names:
            raise Wrong(f"{where}.{key} is no field of {model.__name__}")
        check(item, model.openapi_types[names[key]], f"{where}.{key}")
    # The model itself knows what must be there.
    model(**{names[key]: item for key, item in value.items()})


def check_document(document, name):
    kind = f"{document['apiVersion']}/{document['kind']}"
    if kind not in KINDS:
        raise Wrong(f"{name}: {kind} is not looked at")
    check_model(document, getattr(client, KINDS[kind]), f"{name} {document['kind']} {document['metadata']['name']}")


def pod_of(document):
    if document["kind"] == "Pod":
        return document["spec"]
    return document["spec"]["template"]["spec"] if document["kind"] == "DaemonSet" else {"containers": []}


def check_mounts(document):
    pod = pod_of(document)
    there = {v["name"] for v in pod.get("volumes", [])}
    mounted = {m["name"] for c in pod["containers"] for m in c.get("volumeMounts", [])}
    if there != mounted:
        raise Wrong(f"volumes {sorted(there)} are not those that are mounted, {sorted(mounted)}")


def commands_of(document):
    for container in pod_of(document)["containers"]:
        yield container["command"]
        for probe in ("readinessProbe", "livenessProbe"):
            if probe in container:
                yield container[probe]["exec"]["command"]


def check_commands(document, build):
    count = 0
    for command in commands_of(document):
        words = [w.rsplit("/", 1)[-1] for w in command]
        at = next((i for i, w in enumerate(words) if re.fullmatch(r"svmd(-\w+)?", w)), None)
        if at is None:
            continue
        verb = [w for w in command[at + 1:at + 3] if words[at] == "svmd-ctl" and not w.startswith("-")]
        text = subprocess.run([f"{build}/{words[at]}", *verb, "--help"], capture_output=True, text=True, check=True,
                              timeout=30).stdout
        for option in [w for w in command[at + 1:] if w.startswith("--")]:
            if not re.search(rf"{option}\b", text):
                raise Wrong(f"{' '.join(command)}: {words[at]} has no option {option}")
        count += 1
    return count


def check_config(document, build):
    for text in document.get("data", {}).values():
        path = "/dev/stdin"
        done = subprocess.run([f"{build}/svmd", "--config", path, "--check-config"], input=text, capture_output=True,
                              text=True, check=False, timeout=30)
        if done.returncode:
            raise Wrong(done.stderr)


def refuses(change):
    """What is wrong is seen."""
    good = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}
    check_document(good, "itself")
    change(good)
    try:
        check_document(good, "itself")
    except (Wrong, ValueError):
        return
    raise Wrong("a wrong manifest was taken for a right one")


def main():
    build, files = sys.argv[1], sys.argv[2:]
    documents = programs = 0
    refuses(lambda d: d["spec"].update(hostPid=True))
    refuses(lambda d: d["spec"]["containers"][0].update(command="sh"))
    refuses(lambda d: d["spec"]["containers"][0].pop("name"))
    refuses(lambda d: d["spec"].update(hostPID="yes"))
    for path in files:
        with open(path, encoding="utf-8") as file:
            for document in yaml.safe_load_all(file):
                check_document(document, path.rsplit("/", 1)[-1])
                check_mounts(document)
                programs += check_commands(document, build)
                if document["kind"] == "ConfigMap":
                    check_config(document, build)
                documents += 1
    if documents < 5 or programs < 5:
        raise Wrong(f"only {documents} documents with {programs} programs were found")
    print(f"{documents} documents, {programs} commands")


if __name__ == "__main__":
    try:
        main()
    except (Wrong, ValueError) as wrong:
        sys.exit(f"check.py: {wrong}")
