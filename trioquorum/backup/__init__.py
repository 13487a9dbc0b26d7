"""Whole trees in and out: backups of ensembles that run, restoring them, taking over ZooKeeper's directories."""
