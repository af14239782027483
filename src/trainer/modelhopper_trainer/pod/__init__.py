"""What a pod of a Workflow does that trains: one hop of a convoy, the evaluations left at a shard, or a whole station.

What lives here: all that a pod needs around the station loop, which is the one of every engine. What never happens
here: training otherwise than on one machine; and knowing Argo beyond what it says in the environment.
"""
