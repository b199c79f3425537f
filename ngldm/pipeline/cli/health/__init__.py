"""`ngldm doctor`: what is here, what is broken, and how to repair it."""
