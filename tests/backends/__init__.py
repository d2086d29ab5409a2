"""Run the stub backends as real processes, and test whether they keep the contract."""
