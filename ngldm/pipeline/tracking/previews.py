"""Pictures while a network trains: the same seeds at every evaluation, for the slider of MLflow's image view."""

from collections.abc import Callable
from typing import Any

IMAGES, SEED = 16, 0


def preview(bundle: Any, ema: Any, device: Any) -> Any:
    """A grid of a few images by the averaged weights, by the noise's best known sampler: uint8 (H, W, C).

    Draws from generators of its own and leaves the networks where they were, so that training goes on bit for bit.
    """
    from dataclasses import replace

    from ngldm.io.images import sample_grid
    from ngldm.sampling.best import best_sampler
    from ngldm.sampling.generator import generate

    home = next(bundle.autoencoder.parameters(), None)
    options = best_sampler(bundle.noise.name, bundle.schedule.num_train_timesteps)
    training = ema.model.training
    ema.model.eval()
    bundle.autoencoder.to(device)
    try:
        images = generate(replace(bundle, unet=ema.model), IMAGES, seed=SEED, **options)
    finally:
        ema.model.train(training)
        if home is not None:
            bundle.autoencoder.to(home.device)
    return sample_grid(images, rows=2, columns=8)


def reporter(run: Any, bundle: Any, ema: Any, device: Any) -> Callable[[Any], None]:
    """What a training tells MLflow of each report: its figures and, where it was evaluated, a few images.

    Reports that a resumed training repeats come before it trains on; they have their figures, but no images.
    """
    failed = False

    def tell(report: Any) -> None:
        nonlocal failed
        run.report(report)
        if report.heldout_loss is None or ema.updates != report.step or failed or not run.alive:
            return
        image = run.store.attempt(lambda: preview(bundle, ema, device), None, give_up=False)
        if image is None:
            failed = True
        else:
            run.picture("training", image, report.step)

    return tell
