"""A seed and a case -> one mutation."""

from __future__ import annotations

import random

from tools.fuzz import bytes_mutations, dicom_mutations, grid_mutations, zip_mutations
from tools.fuzz.cases import Case
from tools.fuzz.mutation import Mutation

STRUCTURED_PART = 0.75


def propose(case: Case, seed: int) -> Mutation:
    """The mutation of a case that a seed stands for."""
    rng = random.Random(f"{case.name}:{seed}")
    structured = rng.random() < STRUCTURED_PART
    if structured and any(data[128:132] == b"DICM" for data in case.files.values()):
        change = rng.choice(dicom_mutations.STRUCTURED)
        kind, where, splices = change(rng, dicom_mutations.pick_target(rng, case.files))
    elif structured and case.name.startswith("zip"):
        kind, where, splices = zip_mutations.change_archive(rng, case.files)
    elif structured and case.name.startswith("nifti"):
        kind, where, splices = grid_mutations.change_field(rng, case.files)
    elif structured and case.name in ("nrrd", "nrrd_gz", "nhdr", "mha", "mha_z", "mhd"):
        kind, where, splices = grid_mutations.change_line(rng, case.files)
    else:
        kind, where, splices = rng.choice(bytes_mutations.GENERAL)(rng, case.files)
    return Mutation(case=case.name, kind=kind, where=where, splices=tuple(splices))
