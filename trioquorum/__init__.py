"""trioquorum: a ZooKeeper-compatible coordination server on Trio."""

__version__ = "0.1.0"
