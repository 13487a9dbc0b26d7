"""node-zookeeper-client, unmodified, in a program of ours whose transcript Apache ZooKeeper dictated.

``python -m tests.interop.node_client --help`` says how to record it again.
"""
