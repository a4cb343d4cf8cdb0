"""Sources: where networks come from that this package did not name itself: Keras Applications, transformers, timm, files.

Each is a function of the rest of a network's name (`keras:NAME`, `hf:FOLDER`, `timm:NAME`), or of a file's path, that gives
its specification.
"""
