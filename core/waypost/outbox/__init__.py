"""The send path: lanes, leases, fenced attempts, retries, failover; the only place that tries again."""
