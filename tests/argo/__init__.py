"""A named fake of Argo Workflows: it runs rendered Workflows to the end on this machine, without a cluster.

Start at `tests.argo.fake_argo.FakeArgo`. It knows the part of Argo that we render and refuses the rest by name.
"""
