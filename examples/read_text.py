"""Read the text of a photograph with PP-OCRv4, every convolution computed by groupconv.

Usage: pip install 'groupconv[demo]', then python examples/read_text.py [PICTURE]
"""

import sys

from groupconv.demo.reading import Reader, load_image

LARGEST_DIFFERENCE = 1e-3

reader = Reader()
for line in reader.read(load_image(*sys.argv[1:2])):
    print(f"{line.confidence:4.0%}  {line.text}")

print()
for name, network in reader.networks.items():
    print(
        f"{name:12} {network.seconds:6.3f} s, of these {network.convolution_seconds:6.3f} s in "
        f"convolutions; largest difference to ONNX Runtime {network.difference:.1e}"
    )
if not reader.difference <= LARGEST_DIFFERENCE:
    sys.exit(f"the difference exceeds {LARGEST_DIFFERENCE}")
