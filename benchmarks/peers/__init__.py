"""Mien beside other systems that find nearest vectors: the same faces, the same probes, one core each.

`python -m benchmarks.peers` makes the faces, lets each system build and search in a process of its own (`worker`), and
prints what came out. One file a system, each with a `Peer` that says how it is built and at which efforts it is asked;
`catalogue` names them all. A system that is not installed or fails is named with the reason and left out. The systems
live in `.venv-peers`, made by `environment.sh` from `requirements.txt`; the project itself needs none of them.
"""
