"""What Mien costs beside the plain parts it is made of.

Every figure compares two things in one run, taken in turn, and is a ratio: search with raw FAISS, a call with an empty
call, enrolment with bare writes, photographs with the bare models. One module a figure, each with a function that
answers `Figure`s; `run` runs them, prints a table and writes `build/bench/latest.json`. What several of them need (made
faces, a loaded store, a server process, a raw FAISS on the same files) has a module of its own. `lfw_openset` measures
recognition instead of speed. Nothing here is imported by the product, and no test asserts what is measured here.
"""
