"""One trial: a training that may end early, and the search for its best sampler settings."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ngldm.io.errors import InputError
from ngldm.io.files import fingerprint
from ngldm.model import Model, item_settings
from ngldm.pipeline.config.params import Params
from ngldm.pipeline.experiments.trial import Bench, Training
from ngldm.pipeline.search import storage
from ngldm.pipeline.search.config import Search
from ngldm.pipeline.search.space import TUNED, Values, made_params, present, rungs, suggest, trial_space
from ngldm.pipeline.tracking.runs import Run
from ngldm.pipeline.tracking.search import trial_run
from ngldm.sampling.best import SamplerSettings, resolve_sampler
from ngldm.sampling.generator import Generator

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

RUN, SCORES, STEPS, SECONDS, ERROR = (
    "mlflow_run",
    "samplers",
    "steps",
    "cpu_seconds",
    "error",
)  # further attributes of a trial
MAX_DRAWS = 200  # of sampler settings that are not allowed, for one model


@dataclass
class Objective:
    """Runs the trials of one noise.

    Attributes:
        name: of the search.
        label: of the noise.
        search: what to search.
        base: the content of params.yaml for this noise (`ngldm.pipeline.search.space.base_content`).
        bench: trains and scores.
        parent: MLflow's run of the study.
        worker: id of this process.
    """

    name: str
    label: str
    search: Search
    base: dict[str, Any]
    bench: Bench
    parent: Run
    worker: str
    _start: float = field(default=0.0, init=False)

    def __call__(self, trial: "Trial") -> float:
        """The score of the trial's best sampler settings.

        Raises:
            TrialPruned: the training was ended at a rung, or has diverged.
            InputError: the values of the trial exclude each other.
        """
        import optuna

        trial.set_user_attr(storage.WORKER, self.worker)
        known = trial.study.get_trials(deepcopy=False)
        if not storage.may_run(known, trial.number, self.search.trials):
            trial.set_user_attr(storage.DROPPED, True)
            raise InputError("another trial of its slot is run, or the search has fewer trials now")
        self._start = time.process_time() - trial.user_attrs.get(SECONDS, 0.0)
        values = suggest(trial, trial_space(self.search, self.label))
        try:
            params = made_params(self.base, values, None)
        except InputError as error:
            trial.set_user_attr(storage.IMPOSSIBLE, " ".join(str(error).split()))
            raise
        slot = trial.user_attrs[storage.SLOT]
        run = trial_run(self.parent.store, self.parent, f"trial {slot}", trial.user_attrs.get(RUN), values)
        if run.id is not None:
            trial.set_user_attr(RUN, run.id)
        status = "FAILED"
        try:
            value = self._value(trial, params, values, run)
            status = "FINISHED"
        except optuna.TrialPruned:
            status = "FINISHED"
            raise
        except Exception as error:
            trial.set_user_attr(ERROR, f"{type(error).__name__}: {error}")
            raise
        except KeyboardInterrupt:
            trial.set_user_attr(storage.INTERRUPTED, True)
            status = "KILLED"
            raise
        finally:
            self._note_seconds(trial)
            run.finish(status)
        return value

    def _note_seconds(self, trial: "Trial") -> None:
        trial.set_user_attr(SECONDS, time.process_time() - self._start)

    def _value(self, trial: "Trial", params: Params, values: Values, run: Run) -> float:
        import optuna

        slot, config = trial.user_attrs[storage.SLOT], params.train
        training = Training(f"{self.name}-{self.label}-{slot}", self._settings(params), config, params.seed)
        rung_sampler = self._resolved(params, self.search.sampling.rung)
        scored = trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values  # by an earlier attempt

        def ends(step: int, model: Model) -> bool:
            trial.set_user_attr(STEPS, step)
            if step not in scored:
                score = self.bench.score(model, rung_sampler)
                trial.report(score, step)
                run.metrics({"fd.rung": score}, step)
            self._note_seconds(trial)
            return trial.should_prune()

        pruned, best = "ended at a rung", None
        try:
            with self.bench.trained(training, rungs(self.search, config.max_steps), ends) as model:
                if model is not None:
                    trial.set_user_attr(STEPS, config.max_steps)
                    best = self._best_sampler(trial, model, params, values)
                    pruned = "no sampler of sampling.space could be used"
        except InputError as error:  # the settings were checked before: the numbers of this training went astray
            pruned = str(error)
        if best is None:
            trial.set_user_attr("ended", pruned)
            raise optuna.TrialPruned(pruned)
        run.metrics({"fd": best["value"], "network_calls": best["calls"]}, config.max_steps)
        run.params({f"sampler.{key}": value for key, value in best["settings"].items()})
        return float(best["value"])

    def _settings(self, params: Params) -> dict[str, Any]:
        return {
            "noise": params.noise_arguments(self.label),
            "schedule": params.schedule.model_dump(),
            "diffusion": params.diffusion.model_dump(),
            **item_settings(self.bench.data.item_shape, **params.networks()),
        }

    def _resolved(self, params: Params, settings: Mapping[str, object]) -> SamplerSettings:
        noise = params.noise_arguments(self.label)["name"]
        return resolve_sampler(settings, noise, params.schedule.num_train_timesteps)

    def _best_sampler(self, trial: "Trial", model: Model, params: Params, values: Values) -> dict[str, Any] | None:
        """Score sampler settings, chosen by Optuna, and return the best: settings, value, calls. None if none works.

        Each score is kept with the trial at once. The first settings are those of the rungs, the second the best of the
        noise's other trials.
        """
        import optuna

        space, scores = self.search.sampling.space, list(trial.user_attrs.get(SCORES, ()))
        seed = int(fingerprint([self.search.seed, self.label, trial.user_attrs[storage.SLOT]])[:8], 16)
        inner = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=4, group=True))
        first = [score["settings"] for score in scores]
        first += [dict(self._resolved(params, self.search.sampling.rung)), *best_settings(trial.study)]
        for settings in first:
            inner.enqueue_trial(present(space, settings.get))
        for _ in range(MAX_DRAWS):
            asked = inner.ask()
            drawn = suggest(asked, space)
            chosen = first.pop(0) if first else drawn
            value = self._score(model, values, chosen, scores)
            usable = value is not None and chosen == drawn
            inner.tell(
                asked,
                value if usable else None,
                optuna.trial.TrialState.COMPLETE if usable else optuna.trial.TrialState.FAIL,
            )
            trial.set_user_attr(SCORES, scores)
            if len(scores) >= self.search.sampling.settings and not first:
                break
        return min(scores, key=lambda score: score["value"], default=None)

    def _score(self, model: Model, values: Values, settings: dict[str, Any], scores: list[Any]) -> float | None:
        """The score of one sampler, which is added to `scores`; None if it is not allowed or its images are NaN."""
        if known := [score["value"] for score in scores if score["settings"] == settings]:
            return float(known[0])
        if len(scores) >= self.search.sampling.settings:
            return None
        try:
            params = made_params(self.base, values, settings)
            sampler = self._resolved(params, params.sampler_options[TUNED].settings())
            calls = Generator(model).network_calls(Generator(model).options(**sampler))
            if calls > self.search.sampling.max_calls:
                return None
            value = self.bench.score(model, sampler)
        except InputError:
            return None
        scores.append({"settings": settings, "value": value, "calls": calls})
        return value


def best_settings(study: "Study") -> list[dict[str, Any]]:
    """The sampler settings of the best trial so far, in a list; an empty one if no trial is complete."""
    best = storage.best_trial(study)
    return [] if best is None else [winner(best)["settings"]]


def winner(trial: "FrozenTrial") -> dict[str, Any]:
    """The best sampler settings of a complete trial: settings, value, calls."""
    best: dict[str, Any] = min(trial.user_attrs[SCORES], key=lambda score: score["value"])
    return best
