"""Everything that runs on Ray: the cluster, the sweep and its trials."""
