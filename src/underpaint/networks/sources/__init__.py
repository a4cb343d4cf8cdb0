"""Sources: where networks come from that this package did not name itself: Keras Applications, transformers, timm, files.

What a source, or a file, says of its layers, `taps` makes an anatomy of; `graph` finds them in whatever built the network.
Beside each module that describes a network stands one that runs it (`keras`, `keras_network`), and that reads its graph
(`keras_graph`).
"""
