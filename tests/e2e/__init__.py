"""The cluster tests: on a real Kubernetes with a real Argo Workflows, whatever the current kube context is.

They run with `--cluster`. The images are taken from MODELHOPPER_TRAINER_IMAGE, MODELHOPPER_SCHEDULER_IMAGE and
MODELHOPPER_MINIO_IMAGE, by default those that `make images` makes and the quick start's MinIO.
"""
