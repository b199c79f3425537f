"""The names that settings of the networks can have. No torch here, so that params.yaml is checked quickly."""

AUTO = "auto"  # unet for images, mlp for points
OWN_SECTIONS = ("unet", "mlp")  # kinds whose options are a section of their own, in params.yaml and in a model file
FOR_IMAGES, FOR_POINTS = ("unet", "dit", "diffusers_unet2d"), ("mlp",)
NETWORKS = (AUTO, *OWN_SECTIONS, "dit", "diffusers_unet2d")
TIME_EMBEDDINGS = ("sinusoidal", "siren")
