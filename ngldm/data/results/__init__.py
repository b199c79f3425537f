"""What the stages write and the report reads: tables of scores and of trainings, and generated images."""
