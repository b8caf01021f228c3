"""One server process: settings to options, logs, start, banner, signals, drain, end.

The only folder that knows both the engine and the gRPC server. It decides when things happen, never what a call does.
"""
