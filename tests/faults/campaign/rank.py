"""A training on two processes, one of which is killed: `python -m tests.faults.campaign.rank`.

NGLDM_KILL says which, and when: <rank> <a key of `MOMENTS`>. Only the first start is disturbed.
"""

import os
from functools import partial

from ngldm.pipeline.tracking import runs
from stages.train import main
from tests.faults.campaign.moments import at_step, die, renamed, synced

MOMENTS = {
    "in the middle of step 13": partial(at_step, 13, die),
    "in the middle of the last step": partial(at_step, 20, die),
    "before fsync of the second checkpoint": synced(".next.*.tmp.safetensors", "before", 2),
    "before the new checkpoint becomes the last": renamed("last.safetensors", "before", 2),
    "after the model gets its name": renamed("model.safetensors", "after"),
    "no moment": lambda: None,
}

if __name__ == "__main__":
    runs.SYSTEM_SECONDS = 0.1
    rank, moment = os.environ["NGLDM_KILL"].split(" ", 1)
    if os.environ.get("RANK") == rank and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        MOMENTS[moment]()
    main()
