"""kazoo's own tests against an ensemble of ours, or of Apache ZooKeeper as the referee.

``python -m tests.interop.kazoo_suite --help`` says how; ``cluster`` stands in for kazoo's own starter of servers.
"""
