"""ZooKeeper's C client, unmodified, in a program of ours whose transcript Apache ZooKeeper dictated.

``python -m tests.interop.c_client --help`` says how to record it again.
"""
