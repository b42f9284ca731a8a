"""Reports: what the models of one or more runs reach on test data, as numbers and as text."""
