"""The container images are made as their README says; their building itself is no everyday test."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.project import tree

IMAGES = ["trainer", "scheduler"]
LABELS = {"title", "description", "version", "revision", "licenses", "source"}
IGNORED = (tree.ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_runs_as_an_unprivileged_user_and_writes_only_to_tmp(image: str) -> None:
    final = stages(image)[-1]
    assert re.findall(r"^USER (.+)$", final, re.MULTILINE) == ["1000:1000"]
    assert "HOME=/tmp" in final
    assert "PYTHONDONTWRITEBYTECODE=1" in final
    assert "WORKDIR /tmp\n" in final


@pytest.mark.parametrize("image", IMAGES)
def test_a_pods_command_meets_no_entry_point(image: str) -> None:
    final = stages(image)[-1]
    assert "ENTRYPOINT []\n" in final
    assert "PATH=/opt/modelhopper/bin:$PATH" in final


@pytest.mark.parametrize("image", IMAGES)
def test_every_stage_starts_from_the_one_base_or_an_earlier_stage(image: str) -> None:
    text = dockerfile(image)
    assert re.findall(r"^ARG BASE=(.+)$", text, re.MULTILINE) == ["docker.io/library/python:3.11-slim-bookworm"]
    known = {"${BASE}"}
    for base, name in re.findall(r"^FROM (\S+)(?: AS (\S+))?$", text, re.MULTILINE):
        assert base in known
        known.add(name)


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_says_what_it_is(image: str) -> None:
    assert set(re.findall(r"org\.opencontainers\.image\.(\w+)=", stages(image)[-1])) == LABELS


@pytest.mark.parametrize("image", IMAGES)
def test_the_image_itself_only_compiles_while_it_is_built(image: str) -> None:
    """So neither pip nor its caches can be left behind, and a change of code makes one small layer."""
    final = stages(image)[-1]
    assert [line.split()[1:4] for line in final.splitlines() if line.startswith("RUN")] == [
        ["python3", "-m", "compileall"]
    ]
    assert re.findall(r"^COPY --from=(\w+)", final, re.MULTILINE) == ["dependencies", "code"]


@pytest.mark.parametrize("image", IMAGES)
def test_a_change_of_code_installs_no_dependency_again(image: str) -> None:
    copied = {stage.split()[-1]: re.findall(r"^COPY (.+)$", rest, re.MULTILINE) for stage, rest in named_stages(image)}
    assert copied["tools"] == ["images/constraints.txt ./"]
    assert copied["dependencies"] == ["--from=requirements /build/requirements.txt ./"]


@pytest.mark.parametrize("image", IMAGES)
def test_every_install_is_pinned_or_of_our_own_wheel(image: str) -> None:
    commands = re.findall(r"-m pip (.*?)(?: && |\n)", dockerfile(image).replace("\\\n", " "))
    assert len(commands) == 4
    for command in commands:
        assert "--constraint constraints.txt" in command or "--no-deps" in command, command


def test_the_scheduler_has_no_tensorflow() -> None:
    text = dockerfile("scheduler")
    instructions = "\n".join(line for line in text.splitlines() if not line.startswith("#")).lower()
    assert re.findall(r'"optional-dependencies"\]\["(\w+)"\]', instructions) == ["search"]
    assert "extras" not in instructions
    project = tree.project()
    installed = {normal(one) for one in [*project["dependencies"], *project["optional-dependencies"]["search"]]}
    assert not {name for name in installed if name.startswith(("tensorflow", "keras"))}


def test_the_constraints_pin_each_dependency_once() -> None:
    lines = constraints()
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.!+]+", line) for line in lines)
    names = [line.split("==")[0] for line in lines]
    assert names == sorted(set(names))


def test_the_constraints_cover_what_the_images_ask_for() -> None:
    """pyproject.toml may gain a dependency; then images/constrain.py must run again."""
    project = tree.project()
    extras = project["optional-dependencies"]
    held = [one for extra in ("cpu", "gpu", "search") for one in extras[extra]]
    asked = {normal(one) for one in [*project["dependencies"], *held, "hatchling", "pip"]}
    assert asked <= {line.split("==")[0] for line in constraints()}


def test_the_constraints_satisfy_the_lower_bounds() -> None:
    pinned = dict(line.split("==") for line in constraints())
    project = tree.project()
    extras = project["optional-dependencies"]
    for requirement in [*project["dependencies"], *extras["cpu"], *extras["gpu"], *extras["search"]]:
        for bound in re.findall(r">=([\d.]+)", requirement):
            assert numbers(pinned[normal(requirement)]) >= numbers(bound), requirement


def test_a_build_is_sent_only_what_it_copies() -> None:
    assert IGNORED[1] == "*"
    sent = {line[1:] for line in IGNORED if line.startswith("!")}
    copied = {
        source
        for image in IMAGES
        for line in re.findall(r"^COPY (?!--)(.+)$", dockerfile(image), re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert sent == copied


@pytest.mark.parametrize("extras", ["cpu", "gpu"])
def test_make_builds_both_images_under_the_names_that_pods_use(extras: str) -> None:
    command = ["make", "--dry-run", "images", "ENGINE=docker", f"EXTRAS={extras}"]
    said = subprocess.run(command, cwd=tree.ROOT, capture_output=True, text=True, check=True).stdout
    version = tree.project()["version"]
    assert f"--tag modelhopper/scheduler:{version} ." in said
    assert f"--build-arg EXTRAS={extras} --file images/trainer/Dockerfile --tag modelhopper/trainer:{version}-" in said


def test_kind_up_names_every_tool_that_is_missing() -> None:
    script = tree.ROOT / "tests/e2e/kind-up"
    environment = {"PATH": "/nowhere"}
    done = subprocess.run(
        ["/bin/bash", script, "an/image:1"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "docker kind kubectl" in done.stderr


def test_kind_up_pins_what_it_fetches() -> None:
    text = (tree.ROOT / "tests/e2e/kind-up").read_text(encoding="utf-8")
    assert re.search(r"^argo_version=v\d+\.\d+\.\d+$", text, re.MULTILINE)
    assert re.search(r"^node_image=\S+@sha256:[0-9a-f]{64}$", text, re.MULTILINE)


def dockerfile(image: str) -> str:
    return (tree.ROOT / "images" / image / "Dockerfile").read_text(encoding="utf-8")


def stages(image: str) -> list[str]:
    return re.split(r"^FROM ", dockerfile(image), flags=re.MULTILINE)[1:]


def named_stages(image: str) -> list[tuple[str, str]]:
    """Return each stage's first line and the rest."""
    return [(stage.partition("\n")[0], stage.partition("\n")[2]) for stage in stages(image)]


def constraints() -> list[str]:
    text = (tree.ROOT / "images/constraints.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]


def normal(requirement: str) -> str:
    """Return the normalized name of a requirement."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", requirement)[0]).lower()


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
