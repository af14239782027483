"""Values that cross a process, and the store that carries them.

What lives here: the experiment's specification, records, object names, the ring's arithmetic, the store and its
errors. What never happens here: importing TensorFlow, Kubernetes, the trainer, the scheduler or the SDK.
"""
