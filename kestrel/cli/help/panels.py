"""Options by what they are for. Those that no panel names are the common ones and stand first in the help."""

Panels = dict[str, str]
"""Titles of panels, in their order, with the parameters in each, separated by spaces."""

_POOLING = {"Crops and pooling": "rotations pool_maps crops rois moment across region_norm border fit "
                                 "resize_filter"}
_COMPUTING = {"What computes": "backend weights backend_set workers strict"}
_DESCRIBING = {"What computes": f"{_COMPUTING['What computes']} scheduler dask_workers worker_memory parts"}
_CODES = {"Bytes and bits": "codes train threshold bits"}
_CALIBRATION = {"Activations": "activation_bits preprocessing calibrate size percentile seed"}

PANELS: dict[str, Panels] = {
    "compress": _CALIBRATION,
    "export": {"Descriptor": "descriptor whitening threshold", "For other programs": "onnx floats"},
    "verilog": {
        "Chip": "descriptor startup_check prefix",
        "Memories fitted to a network": "fit size training pooling pool_maps whitening",
        "Test bench": "roms picture",
        "Source": "source_lines",
    },
    "simulate": {
        "Streams": "batch pauses seed",
        "Descriptor of the chip": "pooling pool_maps rotations whitening codes",
        "Waveforms": "waves waves_from waves_cycles",
    },
    "describe": _POOLING | _DESCRIBING | _CODES,
    "search": {"What computes": "backend weights backend_set", "Page": "html images dataset protocol"},
    "evaluate": _POOLING | _DESCRIBING | _CODES | {
        "Measure": "asymmetric average_precision save per_query compare_with seed",
    },
    "report retrieval": {
        "Whitening": "train train_images whitening_mode whitening_dimension",
        "Descriptors": "poolings size rotations threshold strict",
        "Continuing": "keep_features seed",
    },
    "allocate": {
        "Search": "mask_widths scalar_bits max_cycles rounds trials compare held_out",
        "Compression": "fit fill_missing activation_bits preprocessing pictures size percentile",
        "What computes": "scheduler dask_workers worker_memory parts",
    },
    "retrain": {
        "Where it starts": "weights start_from float_only shape_name mask_bits scalar_bits activation_bits "
                           "preprocessing",
        "Teacher": "teacher teacher_network teacher_preprocessing",
        "Loss": "loss feature_layers classifier save_classifier mining margin",
        "What is trained": "fit learn_ranges learn_scalars gradual freeze",
        "Optimiser": "optimiser rate range_rate schedule warmup weight_decay",
        "Pictures": "size layout augment crop_area workers unreadable_share",
        "Validation": "held_out validation_size validate_every patience",
        "Machine": "precision device",
        "Files": "checkpoint no_checkpoint log plot",
    },
    "whiten": _POOLING | _COMPUTING,
}  # fmt: skip
"""Panels of the commands that have more options than one looks through."""


def panel_of(command: str, parameter: str) -> str | None:
    """The title of the panel in which a parameter of a command stands; None for the common ones."""
    for title, names in PANELS.get(command, {}).items():
        if parameter in names.split():
            return title
    return None
