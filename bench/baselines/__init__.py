"""What our figures are measured against: the same work done without this package."""
