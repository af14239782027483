"""What a hop costs on the current cluster, in each shape: where the time of every pod goes.

python benchmarks/cluster.py benchmarks/hop.yaml --cluster cluster.yaml [--chains 2] [--convoy 2] [--write]

The experiment lists its configurations (search method `list`), at least CHAINS x CONVOY. So many of them take part that
CHAINS pods train at once: as many as there are GPUs, and cores, at most, so that no pod waits for another. Nothing else
should run on the cluster. Kubernetes tells times in whole seconds, so a figure is a mean over many pods. --write puts
the table into docs/cluster.md.
"""

import argparse
import itertools
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from datetime import datetime
from pathlib import Path

import yaml
from measure import ROOT

MARKER = "<!-- figures: written by `python benchmarks/cluster.py --write`, until the next heading -->"
PARTS = ("schedule", "start", "import", "pull", "train", "push", "rest", "end", "reaction")
TIMES = re.compile(r"^times (\{.*\})$", re.MULTILINE)
POLL_S = 0.5


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--cluster", type=Path, required=True)
    parser.add_argument("--chains", type=int, default=2)
    parser.add_argument("--convoy", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    rows = [row(shape, *measured(given, shape)) for shape in ("hop", "convoy", "station")]
    head = ["shape", "pods", "hops", *PARTS, "a pod in all", "per hop, beside training"]
    table = [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *[f"| {' | '.join(each)} |" for each in rows]]
    print("\n".join(table))
    if given.write:
        path = ROOT / "docs/cluster.md"
        before, _, after = path.read_text().partition(MARKER)
        rest = after[after.index("\n## ") :] if "\n## " in after else "\n"
        path.write_text(f"{before}{MARKER}\n\n" + "\n".join(table) + f"\n{rest}")


def row(shape, pods, hops):
    """Means in seconds over the pods that train."""
    means = {
        part: statistics.fmean(found) if (found := [pod[part] for pod in pods if part in pod]) else 0.0
        for part in PARTS
    }
    whole = sum(means.values())
    beside = (whole - means["train"]) * len(pods) / hops
    figures = [f"{means[part]:.2f} s" for part in PARTS]
    return [shape, str(len(pods)), str(hops), *figures, f"{whole:.1f} s", f"{beside:.2f} s"]


def measured(given, shape):
    """Run the experiment in one shape; return the times of each pod that trains, and the number of hops."""
    experiment, cluster = given.experiment, given.cluster
    value = yaml.safe_load(experiment.read_text())
    some = given.chains * (given.convoy if shape == "convoy" else 1)
    value["search"]["configurations"] = value["search"]["configurations"][:some]
    value["name"] = f"{value['name'][:30]}-{shape}-{int(time.time()) % 100000}"
    namespace = yaml.safe_load(cluster.read_text()).get("namespace", "default")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", dir=experiment.parent) as file:
        yaml.safe_dump(value, file, sort_keys=False)
        file.flush()
        command = ["modelhopper", "submit", file.name, "--cluster", str(cluster), "--shape", shape]
        command += ["--convoy", str(given.convoy)]
        program = Path(sys.executable).parent / command[0]
        said = subprocess.run([program, *command[1:]], check=True, capture_output=True, text=True).stderr
        pods, logs = followed(namespace, value["name"])
    trains = [pod for pod in pods.values() if component(pod) in ("hop", "station") and pod["metadata"]["name"] in logs]
    times = {pod["metadata"]["name"]: durations(pod, logs[pod["metadata"]["name"]]) for pod in trains}
    for before, after in followers(trains):
        times[before["metadata"]["name"]]["reaction"] = created(after) - finished(before)
    return list(times.values()), int(re.search(r"([\d,]+) hops", said)[1].replace(",", ""))


def followed(namespace, name):
    """Watch the experiment's pods until its Workflows are over; a pod is gone soon after it ends."""
    pods, logs = {}, {}
    while True:
        over = phases(namespace, name)
        for pod in kubectl(namespace, "get", "pods", "-l", f"modelhopper.io/experiment={name}")["items"]:
            key = pod["metadata"]["name"]
            pods[key] = pod
            if key not in logs and terminated(pod, "main"):
                log = text(namespace, "logs", key, "-c", "main")
                if TIMES.search(log):  # it can still be on its way
                    logs[key] = log
        if over and all(phase in ("Succeeded", "Failed", "Error") for phase in over):
            print(f"{name}: {', '.join(over)}", file=sys.stderr)
            return pods, logs
        time.sleep(POLL_S)


def durations(pod, log):
    """Return where a pod's time went, in seconds."""
    said = json.loads(TIMES.search(log)[1])
    inside = {part: said[f"{part}_s"] for part in ("import", "pull", "train", "push")}
    main = terminated(pod, "main")
    scheduled = next(each for each in pod["status"]["conditions"] if each["type"] == "PodScheduled")
    return {
        "schedule": stamp(scheduled["lastTransitionTime"]) - created(pod),
        "start": stamp(main["startedAt"]) - stamp(scheduled["lastTransitionTime"]),
        **inside,
        "rest": max(0.0, said["total_s"] - sum(inside.values())),
        "end": max(0.0, finished(pod) - stamp(main["finishedAt"])),
    }


def followers(pods):
    """Yield each hop pod with the one that follows it in its chain."""
    chains = defaultdict(list)
    for pod in pods:
        if component(pod) == "hop":
            chains[configurations(pod)].append(pod)
    for chain in chains.values():
        chain.sort(key=created)
        yield from itertools.pairwise(chain)


def configurations(pod):
    arguments = next(one for one in pod["spec"]["containers"] if one["name"] == "main")
    words = [*arguments.get("command", []), *arguments.get("args", [])]
    return words[words.index("--configurations") + 1]


def component(pod):
    return pod["metadata"]["labels"].get("app.kubernetes.io/component")


def terminated(pod, container):
    statuses = pod["status"].get("containerStatuses", [])
    return next((one["state"].get("terminated") for one in statuses if one["name"] == container), None)


def created(pod):
    return stamp(pod["metadata"]["creationTimestamp"])


def finished(pod):
    ends = [terminated(pod, one["name"]) for one in pod["status"].get("containerStatuses", [])]
    return max(stamp(end["finishedAt"]) for end in ends if end)


def stamp(told):
    return datetime.fromisoformat(told).timestamp()


def phases(namespace, name):
    found = kubectl(namespace, "get", "workflows", "-l", f"modelhopper.io/experiment={name}")["items"]
    return [one.get("status", {}).get("phase", "") for one in found]


def kubectl(namespace, *arguments):
    return json.loads(text(namespace, *arguments, "-o", "json"))


def text(namespace, *arguments):
    command = ["kubectl", "-n", namespace, *arguments]
    # The log of a pod that has just gone cannot be had, and all else is asked again.
    return subprocess.run(command, capture_output=True, text=True, check=arguments[0] != "logs").stdout


if __name__ == "__main__":
    main()
