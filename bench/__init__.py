"""Figures of this server next to Apache ZooKeeper's, on one machine; see README.md."""
