"""Several replicas of one entity type in one process: real cores under fake time, over a fake
network and fake journals."""
