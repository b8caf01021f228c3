"""One function for each method of the contract; `table` says which method is which function."""
