"""What runs in a cluster's pods beside training: begin, judge, preside, report, fill and check.

What lives here: joining the trainer and the scheduler where a pod needs both. What never happens here: talking to
Kubernetes or Argo; a pod knows the store and what its command line says.
"""
