"""Between the types that callers see and the contract's messages, both ways. No channel, no calls."""
