"""The Mien service. Layers point downward only:

cli -> app -> rpc -> engine -> {embedding | index | storage} -> records, config, errors
"""

__version__ = "0.1.0"
