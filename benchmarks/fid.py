"""Scoring: Frechet distance and Inception features, ours and pytorch-fid's; also with kept statistics of real images.

python -m benchmarks.fid [--size smallest|small|full] [--out FOLDER]
"""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks.common import Row, interleaved, pick, publish, summary
from ngldm.scoring.distance.frechet import Moments, frechet_distance
from ngldm.scoring.features.extractor import extract
from ngldm.scoring.features.inception import InceptionExtractor

RELATIVE = 1e-4


def two_gaussians(dim: int) -> list[Moments]:
    """Moments of two sets of 2 `dim` vectors, with different means and covariances."""
    generator = torch.Generator().manual_seed(0)
    moments = []
    for shift in (0.0, 0.1):
        mixing = torch.randn(dim, dim, generator=generator) / dim**0.5
        moments.append(Moments(dim).update(torch.randn(2 * dim, dim, generator=generator) @ mixing + shift))
    return moments


def distance(size: str) -> list[Row]:
    """Only the distance, from given moments. The values must agree."""
    from pytorch_fid.fid_score import calculate_frechet_distance

    first, second = two_gaussians(pick(size, 128, 2048, 2048))
    arrays = [x.numpy() for x in (first.mean, first.cov, second.mean, second.cov)]
    values: dict[str, float] = {}

    def ours() -> None:
        values["ours"] = frechet_distance(first.mean, first.cov, second.mean, second.cov)

    def peers() -> None:
        values["pytorch-fid"] = float(calculate_frechet_distance(*arrays))

    rows = summary(interleaved({"ours": ours, "pytorch-fid": peers}, pick(size, 1, 2, 5)), 1, "ours", "distances")
    for row in rows:
        row["value"] = values[row["contender"]]
    if abs(values["ours"] / values["pytorch-fid"] - 1.0) > RELATIVE:
        raise AssertionError(f"the distances differ: {values}")
    return rows


def random_inception(folder: Path) -> Path:
    """A file of random weights with the right shapes. The speed does not depend on the values."""
    from pytorch_fid.inception import FIDInceptionA, FIDInceptionC, FIDInceptionE_1, FIDInceptionE_2, _inception_v3

    torch.manual_seed(0)
    model = _inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False)
    model.Mixed_5b, model.Mixed_5c, model.Mixed_5d = (FIDInceptionA(c, f) for c, f in ((192, 32), (256, 64), (288, 64)))
    model.Mixed_6b, model.Mixed_6c, model.Mixed_6d, model.Mixed_6e = (
        FIDInceptionC(768, channels_7x7=c) for c in (128, 160, 160, 192)
    )
    model.Mixed_7b, model.Mixed_7c = FIDInceptionE_1(1280), FIDInceptionE_2(2048)
    torch.save(model.state_dict(), folder / "weights.pth")
    return folder / "weights.pth"


def evaluation(size: str) -> list[Row]:
    """Whole evaluations, of PNG files (peers) or of an array (ours); also with kept statistics of the real images."""
    from PIL import Image
    from pytorch_fid.fid_score import calculate_activation_statistics, calculate_frechet_distance

    count = pick(size, 2, 48, 256)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = np.random.default_rng(0)
    real, made = (generator.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8) for _ in range(2))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        extractor = InceptionExtractor(random_inception(folder), device)
        files: dict[str, list[str]] = {"real": [], "made": []}
        for kind, images in (("real", real), ("made", made)):
            for index, image in enumerate(images):
                path = folder / kind / f"{index}.png"
                path.parent.mkdir(exist_ok=True)
                Image.fromarray(image).save(path)
                files[kind].append(str(path))

        def moments(images: Any) -> Moments:
            total = Moments(extractor.dim)
            for features in extract(extractor, images, 50):
                total.update(features)
            return total

        kept = moments(real)

        def ours(first: Moments | None) -> float:
            mine, other = first or moments(real), moments(made)
            return frechet_distance(mine.mean, mine.cov, other.mean, other.cov)

        def activations(kind: str) -> Any:
            return calculate_activation_statistics(files[kind], extractor.model, 50, 2048, device, 0)

        def peers(first: Any) -> float:
            return float(calculate_frechet_distance(*(first or activations("real")), *activations("made")))

        peers_kept = activations("real")

        def fidelity() -> float:
            import torch_fidelity

            scores = torch_fidelity.calculate_metrics(
                input1=str(folder / "real"),
                input2=str(folder / "made"),
                fid=True,
                cuda=device == "cuda",
                batch_size=50,
                cache=False,
                verbose=False,
                feature_extractor_weights_path=str(folder / "weights.pth"),
            )
            return float(scores["frechet_inception_distance"])

        contenders = {
            "ours": lambda: ours(None),
            "ours, second": lambda: ours(kept),
            "pytorch-fid": lambda: peers(None),
            "pytorch-fid, second": lambda: peers(peers_kept),
            "torch-fidelity": fidelity,
        }
        return summary(interleaved(contenders, pick(size, 1, 2, 3), warm_up=False), 2 * count, "ours")


def main(
    size: Annotated[str, typer.Option(help="smallest, small or full.")] = "small",
    out: Annotated[Path | None, typer.Option(help="Folder for the JSON.")] = None,
) -> None:
    publish("fid", {"Frechet distance": distance(size), "whole evaluation": evaluation(size)}, out)


if __name__ == "__main__":
    typer.run(main)
