"""Tests. A package that we need (torch-fidelity) installs its own tests under the same name, and would hide these."""
