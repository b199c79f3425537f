"""Which settings of the training loop decide its result. A checkpoint is resumed only if these are the same.

| key | decides | part of the key |
| --- | --- | --- |
| max_steps, lr, lr_schedule, warmup_steps, weight_decay, grad_clip, ema_decay, batch_size | the weights | yes |
| optimizer | the weights | yes |
| precision, layout, compile, deterministic | the weights, by their rounding | yes |
| export | which weights go into the model file | yes |
| ema | which further averages are kept, and when | yes |
| eval_every | which weights are the best | only if export is best |
| snapshot_every | which models are kept during training | yes |
| log_every | the steps of the rows in the history; a resumed history keeps its old rows | no |
| checkpoint_every | how many steps a crash can lose | no |
| accumulate_steps | in how many parts a batch is taken; the weights by rounding alone | no |

The device and the numbers of threads and processes are not settings of the loop. A training that is resumed on another
device, or by another number of processes, ends with weights that differ in their last bits.
"""

from collections.abc import Mapping

UNDECISIVE = ("log_every", "checkpoint_every", "accumulate_steps")


def decisive(config: Mapping[str, object]) -> dict[str, object]:
    """Those settings of a training loop that decide its result; see the table above."""
    left_out = UNDECISIVE if config.get("export") == "best" else (*UNDECISIVE, "eval_every")
    return {key: value for key, value in config.items() if key not in left_out}
