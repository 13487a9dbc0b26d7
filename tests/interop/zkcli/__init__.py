"""ZooKeeper's own command line, unmodified, through scripted sessions whose transcripts Apache ZooKeeper dictated.

``python -m tests.interop.zkcli --help`` says how to record them again.
"""
