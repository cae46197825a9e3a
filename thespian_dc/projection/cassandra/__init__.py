"""A consumer's keyspace in Cassandra: positions, a sink beside them, what projections keep."""
