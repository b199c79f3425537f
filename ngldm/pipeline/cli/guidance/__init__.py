"""`ngldm guidance`: what a guidance scale costs and gives."""
