"""Ask the Kubernetes API whether this pod's service account may report a step's result, as Argo's executor does."""

import json
import os
import ssl
import sys
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
API = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"


def may(verb: str) -> bool:
    """Say whether the service account may `verb` workflowtaskresults in its own namespace."""
    attributes = {
        "group": "argoproj.io",
        "resource": "workflowtaskresults",
        "verb": verb,
        "namespace": (ACCOUNT / "namespace").read_text(),
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    headers = {"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}", "Content-Type": "application/json"}
    url = f"{API}/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    request = urllib.request.Request(url, json.dumps(review).encode(), headers)  # noqa: S310 -- always https
    trusted = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, context=trusted, timeout=30) as answer:  # noqa: S310
        return bool(json.load(answer)["status"]["allowed"])


answers = {verb: may(verb) for verb in ("create", "patch")}
for verb, allowed in answers.items():
    sys.stdout.write(f"{verb} workflowtaskresults: {'allowed' if allowed else 'refused'}\n")
sys.exit(not all(answers.values()))
