"""What survives a crash: log, snapshots and epochs in ZooKeeper's formats, and the database made of them."""
