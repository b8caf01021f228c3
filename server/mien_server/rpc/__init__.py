"""The contract `mien.v1` in front of the engine: messages to engine types and back, errors to google.rpc.Status.

Nothing is decided here that the engine could decide. `methods` holds one function for each method of the contract,
`convert` what turns values over, `errors` the one table of codes, `absent` what the contract names and this server
does not do, and `server` puts it behind ports. Only this folder and `app` may import grpc.
"""
