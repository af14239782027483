from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.argo.fake_argo import FakeArgo
from tests.argo.manifests import (
    Tree,
    ended,
    output,
    pod,
    workflow,
)
from tests.argo.processes import ProcessRunner
from tests.argo.refusals import ManifestError
from tests.argo.runs import Run

SMALL = """
import os, pathlib, sys
print("read", (pathlib.Path(sys.argv[1]) / "x.txt").read_text())
out = pathlib.Path(os.environ["OUT"]); out.mkdir(parents=True)
(out / "o").write_text(pathlib.Path.cwd().name + os.environ["HOME"][-4:] + " " + sys.argv[2] + " " + sys.argv[3])
"""


STUBBORN = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
open(sys.argv[1], "w").close()
while True:
    signal.pause()
"""


def container(program: str, *args: str, env: Mapping[str, str] | None = None) -> Tree:
    variables = [{"name": name, "value": value} for name, value in (env or {}).items()]
    return {"command": ["python", "-c", program], "args": list(args), "env": variables}


def test_a_process_sees_its_volumes_and_leaves_its_outputs(tmp_path: Path) -> None:
    (tmp_path / "claim" / "part").mkdir(parents=True)
    (tmp_path / "claim" / "part" / "x.txt").write_text("data")
    mounts = [
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "shard", "mountPath": "/data/training/0", "subPath": "part"},
    ]
    volumes = [{"name": "tmp", "emptyDir": {}}, {"name": "shard", "persistentVolumeClaim": {"claimName": "c"}}]
    filled = container(
        SMALL, "/data/training/0", "s3://b/tmp", "/data/training/{x}", env={"OUT": "/tmp/outputs", "HOME": "/tmp"}
    )
    tree = workflow(pod("a", container=filled | {"volumeMounts": mounts}, volumes=volumes, outputs=output("o")))
    runner = ProcessRunner(tmp_path / "pods", claims={"c": tmp_path / "claim"})
    run = ended(tree, runner)
    name = run.pods()[0].pod_name
    assert run.phase == "Succeeded", runner.log(name)
    assert run.nodes[0].outputs == {"o": f"root/tmp s3://b/tmp {runner.root(name)}/data/training/{{x}}"}
    assert runner.log(name) == "read data\n"


def test_a_process_reads_a_configmap_as_files(tmp_path: Path) -> None:
    volumes, mounts = [{"name": "ca", "configMap": {"name": "c"}}], [{"name": "ca", "mountPath": "/etc/ca"}]
    filled = container("import sys; print(open(sys.argv[1]).read())", "/etc/ca/ca.crt") | {"volumeMounts": mounts}
    runner = ProcessRunner(tmp_path)
    run = ended(workflow(pod("a", container=filled, volumes=volumes)), runner, configmaps={"c": {"ca.crt": "trusted"}})
    assert runner.log(run.pods()[0].pod_name) == "trusted\n"


def test_a_process_that_fails_or_is_killed_gives_the_exit_code_of_a_container(tmp_path: Path) -> None:
    stopping = ProcessRunner(tmp_path / "stopping", python=sys.executable)
    assert ended(workflow(pod("a", container=container("raise SystemExit(75)"))), stopping).nodes[0].exit_code == 75
    runner = ProcessRunner(tmp_path)
    with FakeArgo(runner) as argo:
        run = argo.submit(workflow(pod("b", container=container("import signal; signal.pause()"))))
        name = run.wait_until(Run.running)[0].pod_name
        runner.kill(name)
        assert run.wait(20).nodes[0].exit_code == 137


def test_a_deleted_process_is_asked_first_and_killed_after_its_grace(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "up")
    runner = ProcessRunner(tmp_path, grace_s=0.2)
    with FakeArgo(runner) as argo:
        run = argo.submit(workflow(pod("a", container=container(STUBBORN, str(tmp_path / "up")))))
        name = run.wait_until(Run.running)[0].pod_name
        (tmp_path / "up").read_text()  # a pipe: it opens when the program does
        run.delete_pod(name)
        assert (run.wait(20).phase, run.nodes[0].message) == ("Error", "pod deleted")
    assert runner.log(name) == "asked\n"


def test_a_claim_or_program_that_is_not_there_is_refused(tmp_path: Path) -> None:
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "none"}}]
    mounts = [{"name": "v", "mountPath": "/v"}]
    with pytest.raises(ManifestError, match="no claim 'none'"):
        ended(workflow(pod("a", container={"volumeMounts": mounts}, volumes=volumes)), ProcessRunner(tmp_path))
    with pytest.raises(ManifestError, match="'no-such-program'"):
        ended(workflow(pod("a", container={"command": ["no-such-program"]})), ProcessRunner(tmp_path))
