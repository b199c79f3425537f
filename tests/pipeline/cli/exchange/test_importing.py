"""`ngldm import`, and images from what it wrote."""

from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel


def test_a_pipeline_becomes_a_model_file(ngldm, tmp_path):
    levels = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    unet = UNet2DModel(8, 3, 3, block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1, **levels)
    DDPMPipeline(unet=unet, scheduler=DDPMScheduler(50)).save_pretrained(tmp_path / "theirs")
    out = tmp_path / "model.safetensors"
    code, printed, err = ngldm("import", tmp_path / "theirs", "--out", out)
    assert code == 0, err
    assert f"{sum(p.numel() for p in unet.parameters())} weights for images of 3 x 8 x 8" in printed
    assert ngldm("generate", "--model", out, "--num-images", 2, "--out", tmp_path / "images")[0] == 0
    assert len(list((tmp_path / "images").glob("*.png"))) == 2
    code, _, err = ngldm("import", tmp_path / "theirs", "--out", out)
    assert code == 2
    assert "exists" in err


def test_classes_can_be_asked_for_and_guided(ngldm, tmp_path):
    levels = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    settings = {"block_out_channels": (8, 8), "norm_num_groups": 4, "layers_per_block": 1, "num_class_embeds": 4}
    unet = UNet2DModel(8, 3, 3, **settings, **levels)
    DDPMPipeline(unet=unet, scheduler=DDPMScheduler(50)).save_pretrained(tmp_path / "theirs")
    out = tmp_path / "model.safetensors"
    code, printed, err = ngldm("import", tmp_path / "theirs", "--out", out, "--no-class", 3)
    assert code == 0, err
    assert "images of 3 x 8 x 8, 3 classes" in printed
    options = ("--class", 2, "--guidance-scale", 1.5, "--num-images", 2, "--out", tmp_path / "images")
    assert ngldm("generate", "--model", out, *options)[0] == 0
    assert len(list((tmp_path / "images" / "2").glob("*.png"))) == 2


def test_a_folder_that_is_no_pipeline(ngldm, tmp_path):
    code, _, err = ngldm("import", tmp_path, "--out", tmp_path / "model.safetensors")
    assert code == 2
    assert "model_index.json" in err
