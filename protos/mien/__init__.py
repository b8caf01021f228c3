"""The contract of Mien: generated protobuf and gRPC code, one package a version."""
