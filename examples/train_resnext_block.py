"""Train a small network of ResNeXt blocks on pictures of digits, forward and back in groupconv.

Everything around the convolutions is NumPy. Where PyTorch is installed, the same network is trained
by the same loop there, from the same weights and on the same batches.

Usage: pip install 'groupconv[demo]', then python examples/train_resnext_block.py
"""

import importlib.util
import sys
import time

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import groupconv as gc
from groupconv.demo.training import accuracy, small_resnext, train

EPOCHS = 12
LEAST_ACCURACY = 0.97

digits = load_digits()
images = (digits.images[:, None] / 16).astype(np.float32)
data = train_test_split(images, digits.target, test_size=0.25, random_state=0)
train_images, test_images, train_labels, test_labels = data


def timed(losses):
    """Print the loss of every epoch; return the seconds that all took."""
    start = time.perf_counter()
    for epoch, loss in enumerate(losses, start=1):
        print(f"  epoch {epoch:2}: loss {loss:.4f}")
    return time.perf_counter() - start


# The pictures are 8 x 8: sharing their work among threads costs more than it saves.
gc.set_num_threads(1)
network = small_resnext(np.random.default_rng(0), classes=10)
untrained = small_resnext(np.random.default_rng(0), classes=10)

print("groupconv and NumPy")
seconds = timed(train(network, train_images, train_labels, EPOCHS))
reached = accuracy(network, test_images, test_labels)
print(f"  {seconds:.2f} s; {reached:.2%} of the test pictures are right")

if importlib.util.find_spec("torch"):
    import torch

    from groupconv.demo import training_torch

    torch.set_num_threads(1)
    print("PyTorch, the same network")
    module = training_torch.twin(untrained)
    torch_seconds = timed(training_torch.train(module, train_images, train_labels, EPOCHS))
    print(f"  {torch_seconds:.2f} s, {torch_seconds / seconds:.2f} times groupconv's")

if reached < LEAST_ACCURACY:
    sys.exit(f"the accuracy is below {LEAST_ACCURACY:.0%}")
