"""What goes into calls and comes out of them: frozen dataclasses, numpy arrays, enums. No protobuf, no gRPC."""
