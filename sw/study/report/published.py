"""Figures that the companion papers publish in their text and tables. Values that only their drawings show
are not there to be read and are left out."""

CHANDRASEKHAR = "Chandrasekhar et al."
GONG = "Gong et al."
POSTER = "place-recognition poster"

PARAMETERS = {"alexnet": "2.3M", "vgg16": "14.7M", "resnet50": "25.5M", "resnet152": "60M",
              "shared_resnet": "8.4M"}
"""Table 2 of Chandrasekhar et al., "only convolutional" by its caption."""

TABLE_3 = {"float": 0.8382, "4-bit convolutions, 32-bit batch norm": 0.7806,
           "4-bit convolutions, 4-bit batch norm": 0.7591}
"""Table 3 of Chandrasekhar et al.: mAP of ResNet-50 at pool5."""

VARIABLE_LENGTH_GAIN = "about 15 to 20%"
NEGLIGIBLE_BITS = "4 bits for AlexNet and VGG, 5 for residual networks"
VECTOR_GAIN = "a small gain beside 4- or 5-bit scalars"

GONG_TABLE_1 = (
    ("Original", 1.0, 66.43), ("Binary", 32.0, 64.58),
    ("SVD", 32.0, 55.49), ("SVD", 16.0, 63.08), ("SVD", 8.0, 65.34), ("SVD", 2.0, 66.23),
    ("KM, 2 centres", 32.0, 67.61), ("KM, 4 centres", 16.0, 64.58), ("KM, 16 centres", 8.0, 66.06),
    ("KM, 32 centres", 1.0, 66.58),
    ("PQ, 2 centres", 23.9, 64.94), ("PQ, 4 centres", 13.7, 66.37), ("PQ, 16 centres", 7.4, 66.16),
    ("PQ, 32 centres", 1.0, 66.40),
)  # fmt: skip
"""Method, compression rate as printed, mAP in percent on Holidays. The rates of KM with 32 centres and PQ
with 32, printed as 1, are not those of the paper's own formulas (6.4 for KM)."""

POSTER_TABLE = (
    ("AlexNet", 0.001, 8, 25.77, 0.0, 0.0, 41.4), ("AlexNet", 0.005, 8, 48.44, 0.0, 0.0, 32.4),
    ("AlexNet", 0.01, 8, 69.92, 2.1, 1.8, 20.0), ("AlexNet", 0.05, 8, 85.77, 14.2, 13.3, 10.3),
    ("AlexNet", 0.005, 5, 52.39, 2.9, 3.4, 19.5), ("AlexNet", 0.01, 5, 74.95, 7.3, 6.7, 10.6),
    ("VGG-16", 0.001, 8, 25.52, 0.0, 0.0, 89.6), ("VGG-16", 0.005, 8, 51.77, 0.0, 0.0, 65.1),
    ("VGG-16", 0.01, 8, 68.23, 2.0, 2.1, 40.5), ("VGG-16", 0.05, 8, 84.68, 11.8, 14.1, 21.7),
    ("VGG-16", 0.005, 5, 55.77, 2.2, 3.6, 42.1), ("VGG-16", 0.01, 5, 75.66, 6.8, 5.6, 21.2),
)  # fmt: skip
"""Network, threshold, bits, percentage pruned, drop of mAP in percent on Oxford and Paris, memory in MB."""
