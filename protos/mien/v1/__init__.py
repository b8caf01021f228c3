"""Version 1 of the contract. Everything here but this file is generated from the .proto files beside it."""
