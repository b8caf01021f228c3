"""Values of the contract to values of the engine and back, one file for each part of the contract. No calls here."""
