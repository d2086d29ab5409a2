"""The stub backends as real processes: whether they keep the contract."""
