"""What is trained side by side in benchmarks/fused.py."""

# Name: network, its columns, configurations, batch size, rows of the shard, the ratio that is asked for.
WORKS = {
    "iris, batches of 4": ("iris_mlp", (4,), 3, 12, 4, 30, 10),
    "fraud, batches of 32": ("table_mlp", (28,), 1, 8, 32, 4096, None),
    "fraud, batches of 256": ("table_mlp", (28,), 1, 8, 256, 4096, None),
    "images": ("image_cnn", (32, 32, 3), 10, 6, 32, 256, None),
}
