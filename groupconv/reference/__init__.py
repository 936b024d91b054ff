"""What every operation of groupconv means, in NumPy that can be read next to its formula.

The functions here are definitions, not implementations: they favour the shape of the formula over
speed, compute in float64 whatever the dtype of their operands (longdouble stays longdouble) and
return that dtype. The test suite holds the C core to them. Arguments have the names, the order and
the meaning of the public functions (:func:`groupconv.conv2d` and its siblings); the number of
spatial dimensions is read off the weight, so one function serves 1-D, 2-D and 3-D. Arguments are
trusted: the public functions are where mistakes are explained.

Notation, for one spatial dimension (further ones repeat the index): ``n`` image, ``k`` output
channel, ``c`` input channel within its group, ``r`` kernel position, ``i`` input position, ``o``
output position, ``s`` stride, ``d`` dilation, ``p`` padding before, ``g(k)`` the group of output
channel ``k``, ``C'`` the input channels and ``K'`` the output channels of one group.

References
----------
- V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning",
  arXiv:1603.07285, 2016: sizes, and transposed convolution as the transpose of a matrix.
- A. Krizhevsky, I. Sutskever and G. Hinton, "ImageNet classification with deep convolutional
  neural networks", NIPS 2012: groups.
- N. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., SIAM 2002, section 3.1:
  the error of a sum of products against the sum of their magnitudes.
- A. Howard et al., "Searching for MobileNetV3", ICCV 2019: hard sigmoid and hard swish.
- D. Hendrycks and K. Gimpel, "Gaussian error linear units", arXiv:1606.08415, 2016.
"""

from groupconv.reference._activations import ACTIVATIONS, activate
from groupconv.reference._convolution import (
    conv,
    conv_bias,
    conv_by_loops,
    conv_input,
    conv_weight,
)
from groupconv.reference._rounding import error_bound
from groupconv.reference._sizes import output_size, pad, padding_pairs, transposed_output_size
from groupconv.reference._transposed import (
    conv_transpose,
    conv_transpose_bias,
    conv_transpose_by_loops,
    conv_transpose_input,
    conv_transpose_weight,
)

__all__ = [
    "ACTIVATIONS",
    "activate",
    "conv",
    "conv_bias",
    "conv_by_loops",
    "conv_input",
    "conv_transpose",
    "conv_transpose_bias",
    "conv_transpose_by_loops",
    "conv_transpose_input",
    "conv_transpose_weight",
    "conv_weight",
    "error_bound",
    "output_size",
    "pad",
    "padding_pairs",
    "transposed_output_size",
]
