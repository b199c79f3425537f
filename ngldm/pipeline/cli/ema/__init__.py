"""`ngldm ema`: models whose weights are averages of another length."""
